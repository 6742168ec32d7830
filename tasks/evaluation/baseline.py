"""The plain model that a network has to beat to be worth its cost."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tasks.core.shards import Split

ITERATIONS = 5000


def logistic_regression(
    train: Split, train_features: np.ndarray, test: Split, test_features: np.ndarray, classes: int
) -> np.ndarray:
    """Fits a logistic regression to the pixels (scaled to [0, 1]) and the transformed features of ``train``.

    Args:
        train_features: float32 (N, D), aligned with ``train``.
        test_features: float32 (M, D), aligned with ``test``.
        classes: how many there are; one that ``train`` lacks gets probability 0.

    Returns:
        Probabilities for the rows of ``test``: float64 (M, classes).
    """
    model = LogisticRegression(max_iter=ITERATIONS)
    with threadpool_limits(1):  # sums, and so the result, depend on the number of threads
        model.fit(_matrix(train, train_features), train.labels)
        found = model.predict_proba(_matrix(test, test_features))
    probabilities = np.zeros((len(test), classes))
    probabilities[:, model.classes_] = found
    return probabilities


def _matrix(split: Split, features: np.ndarray) -> np.ndarray:
    return np.concatenate([split.images.reshape(len(split), -1) / 255.0, features], axis=1)
