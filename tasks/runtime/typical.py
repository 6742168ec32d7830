"""The typical row of a table, as the package's baseline tells it: what a row is explained against."""

from typing import Any

import numpy as np

from tasks.core.spec import Categorical, Numeric
from tasks.runtime.baseline import Baseline, Dimension
from tasks.runtime.predictor import Signature


def typical_row(signature: Signature, baseline: Baseline | None) -> dict[str, Any]:
    """Column to its median or most frequent training value, as JSON has it.

    None, a missing value, for what the baseline does not tell: texts, times, and columns that are only crossed.
    """
    kinds = {column.name: column.type for column in signature.columns}
    known = {} if baseline is None else _values(signature, baseline)
    return {name: _as_json(known.get(name), kind) for name, kind in kinds.items()}


def _values(signature: Signature, baseline: Baseline) -> dict[str, float | str | None]:
    groups = [feature.group for feature in signature.features if isinstance(feature, Numeric | Categorical)]
    return {each.name: _middle(each) for group in groups for each in baseline.features.get(group, ())}


def _middle(dimension: Dimension) -> float | str | None:
    """The most frequent string, or of numbers the edge at or below which half of the rows lie."""
    if dimension.values:
        return dimension.values[0] or None
    if not dimension.edges:
        return None
    reached = np.cumsum(dimension.counts[:-1])
    half = int(np.searchsorted(reached, reached[-1] / 2))
    return dimension.edges[min(half // 2, len(dimension.edges) - 1)]


def _as_json(value: float | str | None, kind: str) -> Any:
    if value is None:
        return None
    return value in (1.0, "true") if kind == "boolean" else value
