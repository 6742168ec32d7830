"""The distribution of raw features that a model was trained on, and how far other rows are from it.

Packaging writes the baseline, the drift stage reads it. Per dimension of numbers it keeps quantile edges and the
training rows in every bin. An edge is a bin of its own beside the intervals, so that values that occur again and again
(an empty gradient cell is exactly 0) are counted apart from their neighbours; so is what is missing. Per dimension of
strings it keeps the most frequent values.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from tasks.core.spec import Feature, TextTerms

BASELINE = "baseline.json"

DECIMALS = 5
"""Features are rounded so before they are logged and before they are binned: an atom stays on its edge."""

WIDEST = 512
"""Groups of more dimensions are not watched: nobody reads them one by one."""

FREQUENT = 100
"""Values of a string dimension that are told apart."""

_QUANTILES = np.linspace(0, 1, 11)[1:-1]


class Dimension(BaseModel):
    """One dimension of one feature; ``counts`` of training rows per bin.

    Of numbers: ``edges`` ascending (K), 2K + 2 bins, the last for what is missing. Of strings: ``values``, the most
    frequent first (K), K + 1 bins, the last for all others.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    counts: tuple[int, ...]


class Baseline(BaseModel):
    """The training split's raw features; ``features`` maps a feature group to its dimensions."""

    model_config = ConfigDict(frozen=True)

    rows: int
    features: Mapping[str, tuple[Dimension, ...]]


def watched(features: Iterable[Feature], values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The groups that are logged and held against the baseline: not those wider than `WIDEST`, and no texts, of which
    hardly two are the same.

    Args:
        values: feature group to (N, F).
    """
    groups = [feature.group for feature in features if not isinstance(feature, TextTerms)]
    return {group: values[group] for group in groups if values[group].shape[1] <= WIDEST}


def summarize(features: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]) -> Baseline:
    """The baseline of a split.

    Args:
        features: feature group to float32 or str (N, F), N at least 1.
        names: feature group to the names of its F dimensions.
    """
    dimensions = {
        group: tuple(_dimension(name, column) for name, column in zip(names[group], values.T, strict=True))
        for group, values in features.items()
    }
    return Baseline(rows=max((len(values) for values in features.values()), default=0), features=dimensions)


def stability(baseline: Baseline, features: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Population stability index of every dimension, as ``<group>.<dimension>`` to a number from 0.

    The index is the symmetric Kullback-Leibler divergence of the binned distributions (Lewis, "An introduction to
    credit scoring", 1994). Each bin of ``features`` gets one row of the baseline's making, so that a few rows cannot
    look far away only because a bin stayed empty.

    Args:
        features: feature group to (N, F), N at least 1; None or NaN where a number is missing.
    """
    return {
        f"{group}.{dimension.name}": _index(dimension, column)
        for group, dimensions in baseline.features.items()
        for dimension, column in zip(dimensions, features[group].T, strict=True)
    }


def _dimension(name: str, column: np.ndarray) -> Dimension:
    if column.dtype.kind in "OU":
        frequent = sorted(Counter(column.tolist()).items(), key=lambda item: (-item[1], item[0]))[:FREQUENT]
        found = Dimension(name=name, values=tuple(value for value, _ in frequent), counts=())
    else:
        numbers = _rounded(column)
        present = numbers[~np.isnan(numbers)]
        edges = np.unique(np.quantile(present, _QUANTILES, method="inverted_cdf")) if len(present) else present
        found = Dimension(name=name, edges=tuple(edges.tolist()), counts=())
    return found.model_copy(update={"counts": tuple(_bin(found, column).tolist())})


def _bin(dimension: Dimension, column: np.ndarray) -> np.ndarray:
    """Rows per bin. Of numbers: below the first edge, on it, between it and the second, ... above the last, missing."""
    if dimension.values:
        place = {value: number for number, value in enumerate(dimension.values)}
        places = [place.get(value, len(place)) for value in column.tolist()]
        return np.bincount(places, minlength=len(place) + 1)
    numbers, edges = _rounded(column), np.array(dimension.edges)
    bins = np.searchsorted(edges, numbers, "left") + np.searchsorted(edges, numbers, "right")
    return np.bincount(np.where(np.isnan(numbers), 2 * len(edges) + 1, bins), minlength=2 * len(edges) + 2)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(values, np.float64), DECIMALS)


def _index(dimension: Dimension, column: np.ndarray) -> float:
    counts = np.array(dimension.counts) + 0.5
    expected = counts / counts.sum()
    bins = len(expected)
    actual = (_bin(dimension, column) + bins * expected) / (len(column) + bins)
    return float(np.sum((actual - expected) * np.log(actual / expected)))
