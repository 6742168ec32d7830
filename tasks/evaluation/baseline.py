"""The plain model that a network has to beat to be worth its cost."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from tasks.core.layout import Layout, counts
from tasks.core.shards import Split, evenly

ITERATIONS = 5000

SIDE = 32
"""Pixels a side that it sees at most; of larger images every second one, every third, ..."""

VALUES = 2**25
"""Numbers that it is fitted to at most, evenly spaced rows of them: 256 MB."""


def logistic_regression(
    train: Split, train_features: np.ndarray, test: Split, test_features: np.ndarray, layout: Layout, classes: int
) -> np.ndarray:
    """Fits a logistic regression to the transformed features of ``train`` and, if there are, its pixels in [0, 1].

    Args:
        train_features: float32 (N, D), aligned with ``train``.
        test_features: float32 (M, D), aligned with ``test``.
        layout: what stands where in both; of a sequence of words, it is told which there are.
        classes: how many there are; one that ``train`` lacks gets probability 0.

    Returns:
        Probabilities for the rows of ``test``: float64 (M, classes).
    """
    model = LogisticRegression(max_iter=ITERATIONS)
    seen = _Seen(train, train_features, layout), _Seen(test, test_features, layout)
    found = _predicted(model, "predict_proba", *seen)
    probabilities = np.zeros((len(test), classes))
    probabilities[:, model.classes_] = found
    return probabilities


def ridge_regression(
    train: Split, train_features: np.ndarray, test: Split, test_features: np.ndarray, layout: Layout
) -> np.ndarray:
    """Fits a linear regression with an L2 penalty (Hoerl and Kennard, 1970) to what `logistic_regression` sees.

    Returns:
        Numbers for the rows of ``test``, in the labels' unit: float64 (M,).
    """
    return _predicted(Ridge(), "predict", _Seen(train, train_features, layout), _Seen(test, test_features, layout))


@dataclass(frozen=True)
class _Seen:
    """A split as a linear model sees it."""

    split: Split
    features: np.ndarray
    layout: Layout

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        chosen, images = counts(self.layout, np.asarray(self.features[rows])), self.split.images
        if images is None:
            return chosen
        step = max(1, *(-(-side // SIDE) for side in images.shape[1:3]))
        pixels = images[rows][:, ::step, ::step]
        return np.concatenate([pixels.reshape(len(pixels), -1) / 255.0, chosen], axis=1)


def _predicted(model: Any, method: str, train: _Seen, test: _Seen) -> np.ndarray:
    """Fits the model and asks it about ``test``, a part at a time."""
    rows = evenly(len(train), max(1, VALUES // train[:1].size))
    with threadpool_limits(1):  # sums, and so the result, depend on the number of threads
        model.fit(train[rows], train.split.labels[rows])
        parts = [getattr(model, method)(test[start : start + 1024]) for start in range(0, len(test), 1024)]
    return np.concatenate(parts)
