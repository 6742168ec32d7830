"""Calibration: whether a classifier is right as often as it says (Guo et al., "On calibration of modern neural
networks", 2017), and what one temperature makes of it.
"""

from typing import Any

import numpy as np

from tasks.evaluation.metrics import BINS, bin_of, measure
from tasks.runtime.temperature import tempered


def calibration(
    labels: np.ndarray, probabilities: np.ndarray, temperature: float, *, fitted_on: int, is_served: bool
) -> dict[str, Any]:
    """The test split's reliability, without and with temperature scaling.

    Args:
        labels: of the test split, int (N,).
        probabilities: float (N, classes), of temperature 1.
        temperature: fitted on other rows.
        fitted_on: how many.
        is_served: whether the endpoint answers at this temperature, or at 1.

    Returns:
        ``untempered`` and ``tempered``, with ``bins``, ``calibration_error`` and ``log_loss`` each; ``as_served``,
        which of the two that is; ``temperature`` and ``fitted_on``.
    """
    return {
        "temperature": round(temperature, 4),
        "fitted_on": fitted_on,
        "as_served": "tempered" if is_served else "untempered",
        "untempered": _told(labels, probabilities),
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
