"""The distribution of raw features that a model was trained on, and how far other rows are from it.

Packaging writes the baseline, the drift stage reads it. Per dimension it keeps quantile edges and the training rows
in every bin. An edge is a bin of its own beside the intervals, so that values that occur again and again (an empty
gradient cell is exactly 0) are counted apart from their neighbours.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

BASELINE = "baseline.json"

DECIMALS = 5
"""Features are rounded so before they are logged and before they are binned: an atom stays on its edge."""

_QUANTILES = np.linspace(0, 1, 11)[1:-1]


class Dimension(BaseModel):
    """One dimension of one feature: ``edges`` ascending (K), ``counts`` of rows per bin (2K + 1)."""

    model_config = ConfigDict(frozen=True)

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Baseline(BaseModel):
    """The training split's raw features; ``features`` maps an extractor's name to its dimensions."""

    model_config = ConfigDict(frozen=True)

    rows: int
    features: Mapping[str, tuple[Dimension, ...]]


def summarize(features: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]) -> Baseline:
    """The baseline of a split.

    Args:
        features: extractor's name to float32 (N, F), N at least 1.
        names: extractor's name to the names of its F dimensions.
    """
    rows = len(next(iter(features.values())))
    dimensions = {
        kind: tuple(_dimension(name, column) for name, column in zip(names[kind], _rounded(values).T, strict=True))
        for kind, values in features.items()
    }
    return Baseline(rows=rows, features=dimensions)


def stability(baseline: Baseline, features: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Population stability index of every dimension, as ``<extractor>.<dimension>`` to a number from 0.

    The index is the symmetric Kullback-Leibler divergence of the binned distributions (Lewis, "An introduction to
    credit scoring", 1994). Each bin of ``features`` gets one row of the baseline's making, so that a few rows cannot
    look far away only because a bin stayed empty.

    Args:
        features: extractor's name to (N, F), N at least 1.
    """
    return {
        f"{kind}.{dimension.name}": _index(dimension, column)
        for kind, dimensions in baseline.features.items()
        for dimension, column in zip(dimensions, _rounded(features[kind]).T, strict=True)
    }


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(values, np.float64), DECIMALS)


def _dimension(name: str, column: np.ndarray) -> Dimension:
    edges = np.unique(np.quantile(column, _QUANTILES, method="inverted_cdf"))
    return Dimension(name=name, edges=tuple(edges.tolist()), counts=tuple(_bin(column, edges).tolist()))


def _bin(column: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Rows per bin: below the first edge, on it, between it and the second, on that, ... above the last."""
    bins = np.searchsorted(edges, column, "left") + np.searchsorted(edges, column, "right")
    return np.bincount(bins, minlength=2 * len(edges) + 1)


def _index(dimension: Dimension, column: np.ndarray) -> float:
    counts = np.array(dimension.counts) + 0.5
    expected = counts / counts.sum()
    bins = len(expected)
    actual = (_bin(column, np.array(dimension.edges)) + bins * expected) / (len(column) + bins)
    return float(np.sum((actual - expected) * np.log(actual / expected)))
