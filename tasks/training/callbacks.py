"""What happens at an epoch's end, in the order in which it must.

The history grows; the best weights are taken while those that were validated stand in the model; those that training
goes on with are put back, and saved; then somebody may end the training.
"""

from collections.abc import Callable, Mapping, Sequence

import horovod.tensorflow as hvd
import keras
import numpy as np
import tensorflow as tf

from tasks.core.spec import Training
from tasks.training import distributed, local_sgd, stopping
from tasks.training.averaging import Averaged
from tasks.training.checkpoint import Checkpoints, History
from tasks.training.distributed import Place
from tasks.training.jobs.heartbeat import Beat
from tasks.training.schedules import Plateau

Callbacks = list[keras.callbacks.Callback]
Judged = Callable[[int, Mapping[str, float]], bool]
"""Epochs so far and the last one's entry in the history, to whether training is to end."""


def following(
    training: Training,
    history: History,
    kept: Mapping[str, np.ndarray],
    variables: Sequence[keras.Variable],
    checkpoints: Checkpoints | None,
) -> Callbacks:
    """What follows the callback that appends to ``history``, up to the checkpoint.

    Args:
        kept: what a checkpoint held for callbacks.
        variables: that the optimizer was built with.
        checkpoints: to save in; None: somebody else does, or nobody.
    """
    found, best = Callbacks(), None
    if training.early_stopping and training.early_stopping.restore_best:
        best = stopping.Best(training.early_stopping, history, kept)
        found.append(best)
    if training.ema is not None:
        found.append(Averaged(variables))
    if training.schedule.kind == "plateau":
        found.append(Plateau(training, history))
    if checkpoints:
        found.append(_SaveEachEpoch(checkpoints, history, best))
    return found


def among_ranks(others: Sequence[keras.callbacks.Callback], training: Training) -> Callbacks:
    """All callbacks of a rank: first those that make one model and one log of all ranks'."""
    agree = local_sgd.average_state if training.sync_every > 1 else distributed.average_statistics
    return distributed.callbacks([Beat(), *others], agree)


class Judge(keras.callbacks.Callback):
    """Ends the training when it is over early, or when ``judged`` says so to rank 0."""

    def __init__(self, training: Training, history: History, judged: Judged, place: Place) -> None:
        super().__init__()
        self._rule, self._history, self._judged, self._place = training.early_stopping, history, judged, place

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Asks, once per epoch."""
        if stopping.is_over(self._history, self._rule) or self._is_judged():
            self.model.stop_training = True

    def _is_judged(self) -> bool:
        answer = self._place.rank == 0 and self._judged(len(self._history), self._history[-1])
        if not self._place.horovod:
            return answer
        return bool(hvd.broadcast(tf.constant(answer), root_rank=0))


class _SaveEachEpoch(keras.callbacks.Callback):
    def __init__(self, checkpoints: Checkpoints, history: History, best: stopping.Best | None) -> None:
        super().__init__()
        self._checkpoints, self._history, self._best = checkpoints, history, best

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        extra = self._best.state() if self._best else {}
        self._checkpoints.save(self.model, self._history, extra)
