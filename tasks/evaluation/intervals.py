"""How much of a measure is chance: the percentile bootstrap over rows (Efron and Tibshirani, 1993).

Each resample draws as many rows as there are, with replacement. All models, slices and tests are measured on the same
resamples, so the interval of a difference is that of paired rows: what both find hard does not widen it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tasks.evaluation.metrics import Weighted, shortened

SEED = 20

_CELLS = 2**20
"""Weights held at a time: 8 MB."""

Key = TypeVar("Key")

Interval = list[float] | None
"""Both ends, as JSON has them; None where a measure is not defined."""

Samples = Mapping[str, np.ndarray]
"""Measure to its value in every resample, float64 (resamples,)."""


@dataclass(frozen=True)
class Judged:
    """One model on some of the rows.

    Attributes:
        weighted: its measures there.
        rows: the numbers of those rows, int (n,).
    """

    weighted: Weighted
    rows: np.ndarray


def resample(judged: Mapping[Key, Judged], rows: int, resamples: int) -> dict[Key, Samples]:
    """Measures everything on the same ``resamples`` of a split of ``rows``; the same every time it is asked."""
    parts: dict[Key, list[Samples]] = {key: [] for key in judged}
    for weights in _weights(rows, resamples):
        for key, each in judged.items():
            parts[key].append(each.weighted(weights[each.rows]))
    return {key: {m: np.concatenate([part[m] for part in found]) for m in found[0]} for key, found in parts.items()}


def intervals(samples: Samples, confidence: float) -> dict[str, Interval]:
    """The middle ``confidence`` of each measure's resamples; None where a measure is not defined."""
    return {name: _middle(name, values, confidence) for name, values in samples.items()}


def differences(one: Samples, other: Samples, confidence: float) -> dict[str, Interval]:
    """The middle ``confidence`` of ``one`` minus ``other``, measure by measure, resample by resample."""
    return {name: _middle(name, values - other[name], confidence) for name, values in one.items()}


def _middle(name: str, values: np.ndarray, confidence: float) -> Interval:
    # A resample of a small slice may hold no row of it, or rows of one class alone.
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return [end for end in (shortened(name, low), shortened(name, high)) if end is not None]


def _weights(rows: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each row was drawn: float64 (rows, r), of r resamples at a time."""
    random = np.random.default_rng(SEED)
    most = max(1, _CELLS // rows)
    for start in range(0, resamples, most):
        count = min(most, resamples - start)
        drawn = random.integers(0, rows, (count, rows)) + rows * np.arange(count)[:, None]
        times = np.bincount(drawn.reshape(-1), minlength=count * rows).reshape(count, rows)
        yield np.ascontiguousarray(times.T, np.float64)
