"""Temperature scaling: one number that makes a classifier as sure as it is right (Guo et al., "On calibration of modern
neural networks", 2017).

It divides the logits, so it moves no row to another class. Fitted on rows that the weights were not fitted to.
"""

import numpy as np

_LOWEST, _HIGHEST = 0.05, 20.0
_STEPS = 60


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature under which the labels are likeliest.

    The mean negative log-likelihood is convex in 1 / temperature, so halving an interval around the root of its slope
    finds the minimum.

    Args:
        labels: the true classes, int (N,), N at least 1.
        probabilities: float (N, classes), of temperature 1.

    Returns:
        From 0.05 to 20: above 1, the model is too sure of itself; below, not sure enough.
    """
    shifted = _logits(probabilities)
    true = shifted[np.arange(len(labels)), labels].mean()
    low, high = np.log(1 / _HIGHEST), np.log(1 / _LOWEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        powers = np.exp(shifted * np.exp(middle))
        expected = ((powers * shifted).sum(axis=1) / powers.sum(axis=1)).mean()
        low, high = (low, middle) if expected > true else (middle, high)
    return float(np.exp(-(low + high) / 2))


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """What the softmax gives once its logits are divided by ``temperature``: float (N, classes), as precise as given.

    Args:
        probabilities: float (N, classes), of temperature 1.
    """
    powers = np.exp(_logits(probabilities) / temperature)
    shares: np.ndarray = (powers / powers.sum(axis=1, keepdims=True)).astype(probabilities.dtype)
    return shares


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Logits that give these probabilities, float64, the largest of a row 0; of a probability too small for single
    precision, of the smallest it has.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    return logits - logits.max(axis=1, keepdims=True)
