"""One line per epoch for people, one entry per epoch for the history."""

import time
from collections.abc import Callable

import keras

from tasks.training.checkpoint import History


class Progress(keras.callbacks.Callback):
    """Appends each epoch to ``history`` and logs it, with rows per second and the time that is left.

    Args:
        epochs: the last epoch's number, counted from 1.
        rows: trained on per epoch, over all ranks.
        history: of the epochs before; grows in place.
        log: receives the line.
    """

    def __init__(self, epochs: int, rows: int, history: History, log: Callable[[str], None]) -> None:
        super().__init__()
        self._epochs, self._rows, self._history, self._log = epochs, rows, history, log
        self._started = 0.0
        self._first = True

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the epoch's clock."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Records and logs the epoch."""
        seconds = time.monotonic() - self._started
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        values = {name: float(value) for name, value in (logs or {}).items()}
        self._history.append(values | {"learning_rate": rate, "seconds": round(seconds, 3)})
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        self._log(f"epoch {epoch + 1}/{self._epochs}  {shown}  {self._pace(seconds, self._epochs - epoch - 1)}")

    def _pace(self, seconds: float, epochs_left: int) -> str:
        """Nothing can be told from a process's first epoch: most of it is the tracing of the graph."""
        if self._first:
            self._first = False
            return f"{seconds:.1f} s with tracing"
        return f"{self._rows / seconds:,.0f} rows/s  {epochs_left * seconds:.0f} s left"
