"""Which joined rows a model can be trained on, and why the others are not."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.names import CREATED_AT, ENTITY, EVENT_TIME, KNOWN_AT
from tasks.core.spec import Project

MICROSECONDS = pa.timestamp("us", "UTC")


def faults(spec: Project, rows: pa.Table) -> np.ndarray:
    """The reason code of each row that cannot be used; "" for the others.

    ``not_yet_known``: nothing of the entity was known at the label's time, not even the row itself.
    ``missing_features``: a group is missing, or not of the others' width. ``non_finite_features``: it is infinite, or
    NaN where it describes an image (a missing number of a table is imputed later). ``duplicate``: an earlier row has
    the same input and label. ``conflicting_labels``: rows of the same input contradict each other.

    Args:
        rows: as `tasks.features.dataset.point_in_time` makes them.

    Returns:
        object, (N,).
    """
    found = np.full(rows.num_rows, "", object)
    late = pc.greater(rows[KNOWN_AT], rows[EVENT_TIME]).to_numpy()
    for feature in spec.features:
        column = rows[feature.group]
        missing = ~_of_one_width(column)
        found[missing & (found == "")] = "missing_features"
        found[missing & late & pc.is_null(column).to_numpy()] = "not_yet_known"
        if pa.types.is_floating(column.type.value_type):
            broken = _broken(column, nan_too=spec.source.has_images)
            found[broken & (found == "")] = "non_finite_features"
    whole = np.flatnonzero(found == "")
    found[whole] = _repeated(rows.select(["digest", "label", ENTITY, EVENT_TIME, CREATED_AT]).take(whole))
    return found


def microseconds(column: pa.ChunkedArray) -> np.ndarray:
    """Time stamps as int64 since 1970."""
    return column.cast(MICROSECONDS).cast(pa.int64()).to_numpy()


def _of_one_width(column: pa.ChunkedArray) -> np.ndarray:
    widths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return (widths == np.bincount(widths)[1:].argmax() + 1) if widths.any() else np.zeros(len(widths), bool)


def _broken(column: pa.ChunkedArray, nan_too: bool) -> np.ndarray:
    broken, start = np.zeros(len(column), bool), 0
    for chunk in column.chunks:
        values = pc.fill_null(chunk.flatten(), np.nan).to_numpy(zero_copy_only=False)
        bad = ~np.isfinite(values) if nan_too else np.isinf(values)
        broken[start + pc.list_parent_indices(chunk).to_numpy()[bad]] = True
        start += len(chunk)
    return broken


def _repeated(rows: pa.Table) -> np.ndarray:
    """Exact duplicates: the first to arrive stays, if all agree."""
    _, digest = np.unique(rows["digest"].to_numpy(), return_inverse=True)
    _, label = np.unique(rows["label"].to_numpy(), return_inverse=True)
    _, entity = np.unique(rows[ENTITY].to_numpy(), return_inverse=True)
    order = np.lexsort((entity, microseconds(rows[EVENT_TIME]), microseconds(rows[CREATED_AT])))
    groups = digest.max(initial=-1) + 1
    low, high, first = np.full(groups, len(label) + 1), np.full(groups, -1), np.full(groups, -1)
    np.minimum.at(low, digest, label)
    np.maximum.at(high, digest, label)
    first[digest[order[::-1]]] = order[::-1]
    found = np.full(len(label), "", object)
    found[first[digest] != np.arange(len(label))] = "duplicate"
    found[(low < high)[digest]] = "conflicting_labels"
    return found
