"""Tells the launcher's watchdog which step this rank is at."""

from typing import Any

import keras

from tasks.training.jobs import pulse


class Beat(keras.callbacks.Callback):
    """Beats as each batch of training and of validation begins, and when an epoch ends.

    As a batch begins, not as it ends: a callback that looks at a batch's end makes Keras fetch its logs each time.
    """

    _epoch = 0
    _step = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """A new count of steps."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """One step more."""
        self._step = batch
        pulse.beat(self._epoch, batch)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Validation is no step, but it is a sign of life."""
        pulse.beat(self._epoch, self._step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """What follows (a checkpoint, say) has as long as a step has."""
        pulse.beat(self._epoch, self._step)
