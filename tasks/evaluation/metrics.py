"""The measures that reports and gates speak of, of rows that may count several times: once for a report, by chance for
a bootstrap. `docs/evaluation.md` has their formulas in words.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from tasks.evaluation.ranking import areas, one_hot

_OF_CLASSES = {
    **{"accuracy": True, "balanced_accuracy": True, "f1": True, "roc_auc": True, "pr_auc": True},
    **{"log_loss": False, "calibration_error": False},
}
_OF_NUMBERS = {"mae": False, "rmse": False, "r2": True}

HIGHER_IS_BETTER: Mapping[str, bool] = {
    **_OF_CLASSES,
    **_OF_NUMBERS,
    **{"latency_ms": False, "batch_latency_ms": False, "size_mib": False, "memory_mib": False},
}
"""Every measure, and which way is up."""

IN_LABEL_UNITS = ("mae", "rmse")
"""Given to six digits; the others to six decimals."""

BINS = 15
"""Of the calibration error: equally wide ones of the likeliest class's probability (Guo et al., 2017)."""

_DECIMALS = 6
_DIGITS = 6

Weighted = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Weights, float64 (N, R), how often each row counts in each of R resamples, to every measure, (R,) each. NaN where a
measure is not defined: no row counts, or rows of one class alone for a ranking."""


def measure(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """All measures of one classifier on one set of rows, to six decimals; None where one is not defined.

    Args:
        labels: the true classes, int (N,).
        probabilities: float (N, classes), rows summing to 1.
    """
    return at_once(of_classes(labels, probabilities), len(labels))


def measure_numbers(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """All measures of one regression on one set of rows.

    Args:
        labels: the true numbers, float (N,).
        predicted: float (N,).

    Returns:
        To six digits ``mae`` and ``rmse``, in the labels' unit; to six decimals ``r2``. None where one is not defined.
    """
    return at_once(of_numbers(labels, predicted), len(labels))


def at_once(weighted: Weighted, rows: int) -> dict[str, float | None]:
    """Every measure when each of the rows counts once."""
    return {name: shortened(name, value[0]) for name, value in weighted(np.ones((rows, 1))).items()}


def shortened(name: str, value: float) -> float | None:
    """As reports have the measure's value, or a difference of two: None for what is no number."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}") if name in IN_LABEL_UNITS else round(float(value), _DECIMALS)


def of_classes(labels: np.ndarray, probabilities: np.ndarray) -> Weighted:
    """Prepares a classifier's measures: ``accuracy``, ``balanced_accuracy``, ``f1``, ``roc_auc``, ``pr_auc``,
    ``log_loss`` and ``calibration_error``.

    Args:
        labels: the true classes, int (N,).
        probabilities: float (N, classes), rows summing to 1.
    """
    if not np.isfinite(probabilities).all():
        return _unknown(_OF_CLASSES)
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    true, answered, hit = one_hot(labels, classes), one_hot(predicted, classes), one_hot(labels, classes, right)
    confidences = probabilities.max(axis=1)
    gaps = one_hot(bin_of(confidences), BINS, confidences - right)
    losses = surprise(labels, probabilities)
    curves = [areas(labels == c, probabilities[:, c]) for c in range(classes)]

    def weighted(weights: np.ndarray) -> dict[str, np.ndarray]:
        rows, of_class, hits = weights.sum(axis=0), true @ weights, hit @ weights
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "accuracy": hits.sum(axis=0) / rows,
                "balanced_accuracy": _mean(hits / of_class),
                "f1": _mean(2 * hits / (of_class + answered @ weights)),
                "log_loss": losses @ weights / rows,
                "calibration_error": np.abs(gaps @ weights).sum(axis=0) / rows,
            }
        roc, precision = zip(*(curve(weights) for curve in curves), strict=True)
        found |= {"roc_auc": _mean(np.stack(roc)), "pr_auc": _mean(np.stack(precision))}
        return {name: found[name] for name in _OF_CLASSES}

    return weighted


def of_numbers(labels: np.ndarray, predicted: np.ndarray) -> Weighted:
    """Prepares a regression's measures: ``mae``, ``rmse`` and ``r2``.

    Args:
        labels: the true numbers, float (N,).
        predicted: float (N,).
    """
    if not np.isfinite(predicted).all():
        return _unknown(_OF_NUMBERS)
    true = labels.astype(np.float64)
    centred = true - true.mean() if len(true) else true
    errors = predicted.astype(np.float64) - true
    sums = np.stack([np.abs(errors), errors**2, centred, centred**2])

    def weighted(weights: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            absolute, squared, mean, power = sums @ weights / weights.sum(axis=0)
            spread = np.maximum(power - mean**2, 0)
            # Of labels that are all the same, what rounding leaves of their spread is none.
            flat = spread <= 1e-12 * power
            r2 = np.where(flat, np.where(squared == 0, 1.0, 0.0), 1 - squared / spread)
        r2[np.isnan(absolute)] = np.nan
        return {"mae": absolute, "rmse": np.sqrt(squared), "r2": r2}

    return weighted


def bin_of(confidences: np.ndarray) -> np.ndarray:
    """The bin of the calibration error, from 0, that each probability of a likeliest class falls into; int (N,)."""
    return np.clip(np.ceil(confidences.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)


def surprise(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The negative logarithm of each row's true class's probability, which is at least single precision's epsilon."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses: np.ndarray = -np.log(np.clip(true, np.finfo(np.float32).eps, 1))
    return losses


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts, int (classes, classes): row the true class, column the predicted one."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def _mean(by_class: np.ndarray) -> np.ndarray:
    """Over the classes (classes, R) for which the value is defined."""
    known = ~np.isnan(by_class)
    return np.where(known, by_class, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def _unknown(names: Iterable[str]) -> Weighted:
    """Nothing is known of a model that does not answer every row with numbers."""
    return lambda weights: {name: np.full(weights.shape[1], np.nan) for name in names}
