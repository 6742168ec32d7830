"""Statistics of numeric columns: moments, principal components and quantiles, for `tasks.features.analyzers`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.features.analyzers import UNIT, Statistic, exact

DISTINCT = 2**16
"""Distinct values of a column that its quantiles keep apart."""


class Moments(Statistic):
    """Mean, deviation, least and greatest value of each column: float64 (4, F).

    A missing value (NaN) counts as the mean. A column without any value has mean, deviation and extremes 0.
    """

    outputs = ((tf.float64, [4, None]),)

    def of(self, batch: tuple[np.ndarray, ...]) -> dict[str, Any]:
        """From float32 (n, F)."""
        wide = batch[0].astype(np.float64)
        missing = np.isnan(wide)
        known = np.where(missing, 0.0, wide)
        return {
            "rows": len(wide),
            "counts": len(wide) - missing.sum(axis=0),
            "sums": exact(known.sum(axis=0)),
            "squares": exact(np.square(known).sum(axis=0)),
            "low": np.where(missing, np.inf, wide).min(axis=0, initial=np.inf),
            "high": np.where(missing, -np.inf, wide).max(axis=0, initial=-np.inf),
        }

    def plus(self, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        """See `Statistic`."""
        added = {name: one[name] + other[name] for name in ("rows", "counts", "sums", "squares")}
        return added | {"low": np.minimum(one["low"], other["low"]), "high": np.maximum(one["high"], other["high"])}

    def result(self, told: dict[str, Any]) -> tuple[np.ndarray]:
        """See `Statistic`."""
        moments = [
            _mean_and_deviation(*column, told["rows"])
            for column in zip(told["counts"].tolist(), told["sums"], told["squares"], strict=True)
        ]
        extremes = np.where(told["counts"] > 0, [told["low"], told["high"]], 0)
        return (np.concatenate([np.array(moments).T.reshape(2, -1), extremes]),)


def _mean_and_deviation(count: int, total: int, squares: int, rows: int) -> tuple[float, float]:
    if not count:
        return 0.0, 0.0
    spread = count * (squares << UNIT) - total * total
    return total / (count << UNIT), max(0.0, spread / ((count * rows) << 2 * UNIT)) ** 0.5


class Components(Statistic):
    """The mean (F) and the first principal components (F, components) of each row, both float32.

    A missing value (NaN) counts as the mean. A component's largest loading is positive: its sign would else be the
    eigensolver's whim.
    """

    def __init__(self, width: int, components: int, missing: bool) -> None:
        """Without ``missing`` values a quarter of the sums will do."""
        super().__init__()
        self.width, self.components, self.missing = width, components, missing
        self.outputs = ((tf.float32, [width]), (tf.float32, [width, components]))

    def of(self, batch: tuple[np.ndarray, ...]) -> tuple[int, np.ndarray]:
        """From float32 (n, F): the rows, and the sums of the products of all pairs of columns and of their masks."""
        (values,) = batch
        present = ~np.isnan(values) if self.missing else np.ones((len(values), 1), bool)
        beside = np.concatenate([present, np.where(present, values, 0)], axis=1, dtype=np.float64)
        return len(values), exact((beside.T @ beside)[np.triu_indices(beside.shape[1])])

    def plus(self, one: tuple[int, np.ndarray], other: tuple[int, np.ndarray]) -> tuple[int, np.ndarray]:
        """See `Statistic`."""
        return one[0] + other[0], one[1] + other[1]

    def result(self, told: tuple[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """See `Statistic`."""
        masks = self.width if self.missing else 1
        upper = np.zeros((masks + self.width,) * 2)
        upper[np.triu_indices(len(upper))] = [total / (1 << UNIT) for total in told[1]]
        products = upper + np.triu(upper, 1).T
        counts, sums = products[:masks, :masks], products[masks:, :masks]
        mean = np.diagonal(sums if self.missing else np.tile(sums, self.width)) / np.maximum(np.diagonal(counts), 1)
        # Sum over rows of (x - mean) (y - mean), where both are there.
        spread = products[masks:, masks:] - mean * sums - (mean * sums).T + np.outer(mean, mean) * counts
        _, vectors = np.linalg.eigh(spread / told[0])
        first = vectors[:, ::-1][:, : self.components]
        largest = np.take_along_axis(first, np.abs(first).argmax(axis=0)[None], axis=0)
        return mean.astype(np.float32), (first * np.sign(largest)).astype(np.float32)


class Quantiles(Statistic):
    """Where each column's values fall into ``buckets`` of about equally many: float32 (F, buckets - 1).

    A boundary is the smallest value with its share of the rows at or below it. Beyond `DISTINCT` values in a column,
    neighbours count as one: the last bits of the float32 are dropped, as many as it takes.
    """

    def __init__(self, buckets: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.outputs = ((tf.float32, [None, buckets - 1]),)

    def of(self, batch: tuple[np.ndarray, ...]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """From float32 (n, F): for each column how many bits were dropped, the sorted values, and their counts."""
        (values,) = batch
        keys = _sortable(values)
        return [_thinned(0, keys[~np.isnan(x), n], None) for n, x in enumerate(values.T)]

    def plus(self, one: Any, other: Any) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """See `Statistic`."""
        return [
            _thinned(max(a[0], b[0]), np.concatenate([a[1], b[1]]), np.concatenate([a[2], b[2]]))
            for a, b in zip(one, other, strict=True)
        ]

    def result(self, told: Sequence[tuple[int, np.ndarray, np.ndarray]]) -> tuple[np.ndarray]:
        """See `Statistic`."""
        return (np.stack([self._boundaries(keys, counts) for _, keys, counts in told]),)

    def _boundaries(self, keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
        if not len(keys):
            return np.zeros(self.buckets - 1, np.float32)
        below = counts.cumsum()
        wanted = np.arange(1, self.buckets) * below[-1]
        return _from_sortable(keys[np.searchsorted(below * self.buckets, wanted)])


def _sortable(values: np.ndarray) -> np.ndarray:
    """float32 as int64 of the same order; both zeros are one."""
    bits = (values + np.float32(0)).view(np.int32)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64)


def _from_sortable(keys: np.ndarray) -> np.ndarray:
    lowest = _sortable(np.array([np.finfo(np.float32).min]))
    bits = np.maximum(keys, lowest).astype(np.int32)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int32).view(np.float32)


def _thinned(dropped: int, keys: np.ndarray, counts: np.ndarray | None) -> tuple[int, np.ndarray, np.ndarray]:
    """Equal values counted together, as few bits dropped from ``dropped`` on as leave at most `DISTINCT` of them."""
    while True:
        found, place, times = np.unique(keys >> dropped << dropped, return_inverse=True, return_counts=True)
        if len(found) <= DISTINCT:
            summed = times if counts is None else np.bincount(place, counts, len(found)).astype(np.int64)
            return dropped, found, summed
        dropped += 1
