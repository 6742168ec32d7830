"""Which rows of the held-out split are shown: some that are predicted rightly, and the worst errors."""

from typing import Literal, NamedTuple

import numpy as np

from tasks.core.shards import evenly

SHOWN = 4
"""Of either kind."""

_CLOSEST = 10
"""Of a regression, the share of the rows, one in so many, that counts as predicted rightly."""


class Example(NamedTuple):
    """A row by its number in the split.

    Attributes:
        kind: whether it is predicted rightly; of a regression, whether it is among the closest or the furthest.
        target: the predicted class, whose logit or probability is explained; of a regression 0.
    """

    kind: Literal["right", "wrong"]
    row: int
    target: int


def examples(labels: np.ndarray, predictions: np.ndarray) -> list[Example]:
    """At most `SHOWN` right rows, evenly chosen, and at most `SHOWN` wrong ones, the worst first.

    The worst are those whose true class is the least likely, or whose number is the furthest off.

    Args:
        labels: the true classes, int (N,), or numbers, float (N,).
        predictions: probabilities (N, classes), or numbers (N,).
    """
    if predictions.ndim == 1:
        errors, targets = np.abs(predictions - labels), np.zeros(len(labels), int)
        order = np.argsort(errors, kind="stable")
        right, wrong = np.sort(order[: max(1, len(order) // _CLOSEST)]), order[::-1]
    else:
        true, targets = predictions[np.arange(len(labels)), labels], predictions.argmax(axis=1)
        order = np.argsort(true, kind="stable")
        right, wrong = np.flatnonzero(targets == labels), order[(targets != labels)[order]]
    shown = [Example("right", int(row), int(targets[row])) for row in right[evenly(len(right), SHOWN)] if len(right)]
    return shown + [Example("wrong", int(row), int(targets[row])) for row in wrong[:SHOWN]]
