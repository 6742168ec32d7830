"""Early stopping. When to stop follows from the history alone, so a resumed run stops where the first would have."""

import math
from collections.abc import Mapping

import keras
import numpy as np

from tasks.core.spec import EarlyStopping
from tasks.training.checkpoint import History


def best_epoch(history: History, rule: EarlyStopping) -> int | None:
    """Number, from 0, of the last epoch that lowered the validation loss by ``min_delta``; None: none was a number."""
    best, found = math.inf, None
    for epoch, entry in enumerate(history):
        if entry["val_loss"] < best - rule.min_delta:
            best, found = entry["val_loss"], epoch
    return found


def is_over(history: History, rule: EarlyStopping | None) -> bool:
    """Whether ``patience`` epochs in a row brought no lower loss."""
    if rule is None:
        return False
    best = best_epoch(history, rule)
    return len(history) - (0 if best is None else best + 1) >= rule.patience


def kept_entry(history: History, rule: EarlyStopping | None) -> Mapping[str, float]:
    """The entry of the epoch whose weights the trained model has."""
    best = best_epoch(history, rule) if rule and rule.restore_best else None
    return history[-1 if best is None else best]


class Best(keras.callbacks.Callback):
    """Keeps the weights of the best epoch, and gives them to the model in the end.

    Stands where the model is what was validated, and after the callback that appends to ``history``.

    Args:
        kept: `state` of the run that this one goes on from.
    """

    def __init__(self, rule: EarlyStopping, history: History, kept: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._rule, self._history = rule, history
        self._weights = [kept[f"best-{number}"] for number in range(len(kept))]

    def state(self) -> dict[str, np.ndarray]:
        """What has to be saved with a checkpoint."""
        return {f"best-{number}": weight for number, weight in enumerate(self._weights)}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Looks whether this one is it."""
        if best_epoch(self._history, self._rule) == len(self._history) - 1:
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Puts them back, unless no epoch's loss was a number."""
        if self._weights:
            self.model.set_weights(self._weights)
