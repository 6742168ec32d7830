"""The plain model that a network has to beat to be worth its cost."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tasks.core.shards import Split

ITERATIONS = 5000

SIDE = 32
"""Pixels a side that it sees at most; of larger images every second one, every third, ..."""

VALUES = 2**25
"""Numbers that it is fitted to at most, evenly spaced rows of them: 256 MB."""


def logistic_regression(
    train: Split, train_features: np.ndarray, test: Split, test_features: np.ndarray, classes: int
) -> np.ndarray:
    """Fits a logistic regression to the transformed features of ``train`` and, if there are, its pixels in [0, 1].

    Args:
        train_features: float32 (N, D), aligned with ``train``.
        test_features: float32 (M, D), aligned with ``test``.
        classes: how many there are; one that ``train`` lacks gets probability 0.

    Returns:
        Probabilities for the rows of ``test``: float64 (M, classes).
    """
    model = LogisticRegression(max_iter=ITERATIONS)
    rows = _evenly(len(train), VALUES // _matrix(train, train_features, slice(0, 1)).size)
    with threadpool_limits(1):  # sums, and so the result, depend on the number of threads
        model.fit(_matrix(train, train_features, rows), train.labels[rows])
        parts = (slice(start, start + 1024) for start in range(0, len(test), 1024))
        found = np.concatenate([model.predict_proba(_matrix(test, test_features, part)) for part in parts])
    probabilities = np.zeros((len(test), classes))
    probabilities[:, model.classes_] = found
    return probabilities


def _evenly(rows: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, rows - 1, max(1, min(rows, most))).astype(np.int64))


def _matrix(split: Split, features: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
    chosen = np.asarray(features[rows])
    if split.images is None:
        return chosen
    step = max(1, *(-(-side // SIDE) for side in split.images.shape[1:3]))
    pixels = split.images[rows][:, ::step, ::step]
    return np.concatenate([pixels.reshape(len(pixels), -1) / 255.0, chosen], axis=1)
