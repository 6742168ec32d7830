"""Areas under curves over rows that count several times: ROC and precision-recall, exact, ties included.

An area needs only how many rows stand above, beside and below each positive row's score. So rows are told apart by the
segment of the scores that they fall into, and one sparse product counts the segments under many weightings at once.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csc_matrix

Areas = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Weights, float64 (N, R), to the areas under the ROC and the precision-recall curve, (R,) each."""


def areas(positive: np.ndarray, scores: np.ndarray) -> Areas:
    """Prepares the two areas of one class against the rest.

    The one under the precision-recall curve is the average precision: no interpolation between points (Davis and
    Goadrich, 2006).

    Args:
        positive: bool (N,).
        scores: float (N,), higher for what is more likely positive.

    Returns:
        Their function; NaN where a weighting leaves no positive or no other row.
    """
    levels = np.unique(scores[positive])
    # Below the first level, on it, between it and the second, on that, ..., above the last.
    places = np.searchsorted(levels, scores, "left") + np.searchsorted(levels, scores, "right")
    places = places.astype(np.int32)
    hits = places[positive] // 2

    def weighted(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts = one_hot(places, 2 * len(levels) + 1) @ weights
        found = one_hot(hits, len(levels)) @ weights[positive]
        beside = counts[1::2] - found
        positives, rows = found.sum(axis=0), counts.sum(axis=0)
        others = rows - positives
        below = counts[:-1:2].cumsum(axis=0) + beside.cumsum(axis=0) - beside / 2
        at_least = rows - (counts[:-1:2] + counts[1::2]).cumsum(axis=0) + counts[1::2]
        found_at_least = positives - found.cumsum(axis=0) + found
        precision = found_at_least / np.maximum(at_least, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            roc = (found * below).sum(axis=0) / (positives * others)
            average = np.where(others > 0, (found * precision).sum(axis=0) / positives, np.nan)
        return roc, average

    return weighted


def one_hot(groups: np.ndarray, count: int, values: np.ndarray | None = None) -> csc_matrix:
    """(count, N): each row's value, float (N,), or 1, in the group that ``groups``, int (N,), names for it."""
    given = np.ones(len(groups)) if values is None else values.astype(np.float64)
    return csc_matrix((given, groups, np.arange(len(groups) + 1)), shape=(count, len(groups)))
