"""The learning rate over time."""

import math

import keras
from keras.optimizers import schedules

from tasks.core.spec import Training
from tasks.training.checkpoint import History


def peak_rate(training: Training) -> float:
    """``learning_rate``, scaled with the spec's ranks: a trial, which runs alone, has the rate of the final job."""
    factor = {"none": 1.0, "linear": float(training.ranks), "square_root": math.sqrt(training.ranks)}
    return training.learning_rate * factor[training.scale_rate]


def make_schedule(
    training: Training, updates_per_epoch: int, epochs: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The rate as a function of the update's number; a number, which `Plateau` may change, for constant and plateau.

    A cosine ends at zero (Loshchilov and Hutter, "SGDR", 2017). A warm-up starts at one update's share of the peak
    (Goyal et al., 2017), and one that is longer than the training only rises.
    """
    schedule, peak = training.schedule, peak_rate(training)
    total = updates_per_epoch * epochs
    if schedule.kind in ("constant", "plateau"):
        return peak
    if schedule.kind in ("step", "exponential"):
        staircase = schedule.kind == "step"
        return schedules.ExponentialDecay(peak, schedule.every * updates_per_epoch, schedule.factor, staircase)
    warmup = round(schedule.warmup * updates_per_epoch) if schedule.kind == "cosine_warmup" else 0
    if warmup:
        falling = max(1, total - warmup)
        return schedules.CosineDecay(peak / warmup, falling, warmup_target=peak, warmup_steps=warmup)
    return schedules.CosineDecay(peak, total)


def plateau_rate(training: Training, history: History) -> float:
    """The rate after ``history``: times ``factor`` whenever ``every`` epochs brought no lower validation loss."""
    schedule, rate = training.schedule, peak_rate(training)
    best, waited = math.inf, 0
    for entry in history:
        waited += 1
        if entry["val_loss"] < best:
            best, waited = entry["val_loss"], 0
        elif waited >= schedule.every:
            rate, waited = rate * schedule.factor, 0
    return rate


class Plateau(keras.callbacks.Callback):
    """Lowers the rate on a plateau of the validation loss. Its state is the history, so a resumed run goes on exactly.

    Args:
        history: to which another callback, before this one, appends each epoch.
    """

    def __init__(self, training: Training, history: History) -> None:
        super().__init__()
        self._training, self._history = training, history

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """What the epochs before led to."""
        self._set_rate()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """What this epoch leads to."""
        self._set_rate()

    def _set_rate(self) -> None:
        self.model.optimizer.learning_rate = plateau_rate(self._training, self._history)
