"""The measures that reports and gates speak of."""

from collections.abc import Mapping

import numpy as np

HIGHER_IS_BETTER: Mapping[str, bool] = {
    **{"accuracy": True, "balanced_accuracy": True, "log_loss": False},
    **{"mae": False, "rmse": False, "r2": True},
}
"""Every measure, and which way is up."""

_DECIMALS = 6
_DIGITS = 6


def measure(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """All measures of one model on one set of rows, to six decimals.

    Args:
        labels: the true classes, int (N,).
        probabilities: float (N, classes), rows summing to 1.

    Returns:
        ``accuracy``: the share of rows whose likeliest class is the true one. ``balanced_accuracy``: the mean over the
        classes that occur of their recall. ``log_loss``: the mean negative logarithm of the true class's probability.
    """
    right = probabilities.argmax(axis=1) == labels
    recalls = [right[labels == label].mean() for label in np.unique(labels)]
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    values = {
        "accuracy": right.mean(),
        "balanced_accuracy": np.mean(recalls),
        "log_loss": -np.log(np.clip(true, np.finfo(np.float32).eps, 1)).mean(),
    }
    return {name: round(float(value), _DECIMALS) for name, value in values.items()}


def measure_numbers(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """All measures of one regression on one set of rows.

    Args:
        labels: the true numbers, float (N,), N at least 1.
        predicted: float (N,).

    Returns:
        To six digits, in the labels' unit, ``mae``: the mean absolute error, and ``rmse``: the root of the mean squared
        one. To six decimals ``r2``: the share of the labels' variance that is explained; 1 is perfect, 0 is as good as
        always saying their mean. Of labels that are all the same it is 1 or 0.
    """
    true = labels.astype(np.float64)
    errors = predicted.astype(np.float64) - true
    squared, spread = (errors**2).mean(), true.var()
    r2 = 1 - squared / spread if spread else float(squared == 0)
    found = {"mae": np.abs(errors).mean(), "rmse": np.sqrt(squared)}
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in found.items()} | {"r2": round(float(r2), _DECIMALS)}


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts, int (classes, classes): row the true class, column the predicted one."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts
