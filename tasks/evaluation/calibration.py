"""Calibration: whether a classifier is right as often as it says (Guo et al., "On calibration of modern neural
networks", 2017), and what one temperature would make of it.
"""

from typing import Any

import numpy as np

from tasks.evaluation.metrics import BINS, bin_of, measure
from tasks.evaluation.temperature import fit_temperature, logarithms, tempered


def calibration(
    labels: np.ndarray, probabilities: np.ndarray, fitted_labels: np.ndarray, fitted_probabilities: np.ndarray
) -> dict[str, Any]:
    """The test split's reliability, and the same after temperature scaling.

    Args:
        labels: of the test split, int (N,).
        probabilities: float (N, classes).
        fitted_labels: of the validation split, int (M,): the temperature is fitted there.
        fitted_probabilities: float (M, classes).

    Returns:
        ``bins``, ``calibration_error`` and ``log_loss`` of the test split; ``temperature``; ``fitted_on``, M;
        ``tempered``, the first three again with the logits divided by the temperature.
    """
    temperature = fit_temperature(fitted_labels, logarithms(fitted_probabilities))
    return {
        **_told(labels, probabilities),
        "temperature": round(temperature, 4),
        "fitted_on": len(fitted_labels),
        "tempered": _told(labels, tempered(probabilities, temperature)),
    }


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float]]:
    """Per bin of the likeliest class's probability that holds rows: its bounds, how many rows, the mean probability,
    and the share of them whose likeliest class is the true one.
    """
    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = bin_of(confidences)
    return [
        {
            "low": round(number / BINS, 6),
            "high": round((number + 1) / BINS, 6),
            "rows": int(inside.sum()),
            "confidence": round(float(confidences[inside].mean()), 6),
            "accuracy": round(float(right[inside].mean()), 6),
        }
        for number in range(BINS)
        if (inside := bins == number).any()
    ]


def _told(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    found = measure(labels, probabilities)
    measures = {name: found[name] for name in ("calibration_error", "log_loss")}
    return {"bins": reliability(labels, probabilities), **measures}
