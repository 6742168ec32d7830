"""What makes Keras 3's ``fit`` correct under Horovod: averaged gradients, equal starts, equal decisions, equal shards.

Horovod's own Keras wrapper was written for Keras 2: on Keras 3 it reduces nothing and says nothing. After
``hvd.init()`` a rank does

    model.compile(optimizer=wrap_optimizer(optimizer), loss=..., jit_compile=False)
    model.fit(..., callbacks=callbacks([EarlyStopping(...), ...]))

on batches of the rows that ``shard`` names. Then ranks times batch trains as one process does on batches of that
product (Goyal et al. 2017, arXiv:1706.02677), and all ranks hold the same weights to the bit. Batch normalization is
the exception to the first: it normalizes each rank's own batch. ``jit_compile=False``, because XLA cannot compile
Horovod's operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import horovod.tensorflow as hvd
import keras
import numpy as np
import tensorflow as tf

from tasks.core.errors import BadInput
from tasks.training.optimizers import Apply, intercept


@dataclass(frozen=True)
class Place:
    """Which of how many ranks this process is; outside a Horovod job the only one."""

    rank: int = 0
    size: int = 1
    horovod: bool = False


def wrap_optimizer(optimizer: keras.optimizers.Optimizer, *, compress: bool = False) -> keras.optimizers.Optimizer:
    """Make this instance average gradients over all ranks, in one fused reduction, before it applies them; returns it.

    Of a ``LossScaleOptimizer`` that is before it looks for what float16 cannot hold, so that all ranks skip a step or
    none does. See `tasks.training.optimizers.intercept` for which instance, and when again.

    Args:
        compress: send them as float16.
    """
    compression = hvd.Compression.fp16 if compress else hvd.Compression.none

    def step(apply: Apply, grads: Sequence[tf.Tensor], trained: Sequence[keras.Variable]) -> None:
        apply(hvd.grouped_allreduce(list(grads), op=hvd.Average, compression=compression), trained)

    return intercept(optimizer, step)


def callbacks(
    others: Sequence[keras.callbacks.Callback] = (), agree: Callable[[keras.Model], None] | None = None
) -> list[keras.callbacks.Callback]:
    """The callbacks for ``fit``, ours first: what decides at an epoch's end must see what all ranks measured.

    Callbacks that stop training within an epoch are not for a job of several ranks: one rank would stop alone.

    Args:
        agree: makes one model of what the ranks have trained; by default averages batch normalization's statistics.
    """
    return [RankSync(agree or average_statistics), *others]


class RankSync(keras.callbacks.Callback):
    """Same start for all ranks, and the same model and logs wherever these are read.

    At the start of training, weights and optimizer state are rank 0's, so a checkpoint need be loaded there only.
    Before validation, or at an epoch's end without one, ranks agree on one model. The logs become those of all ranks'
    rows together, also where each validates its own share of them: metrics are added up, whose state is sums.
    """

    def __init__(self, agree: Callable[[keras.Model], None]) -> None:
        super().__init__()
        self._agree = agree
        self._trained: dict[str, float] | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Give every rank the weights and optimizer variables of rank 0."""
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        state = [*self.model.weights, *optimizer.variables]
        hvd.broadcast_variables([variable.value for variable in state], root_rank=0)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Validate the model that will be saved; Keras resets the metrics of training after this."""
        self._agree(self.model)
        self._trained = _joint_results(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Put into the logs what later callbacks and the history read."""
        if self._trained is None:
            self._agree(self.model)
        found = _joint_results(self.model)
        if self._trained is not None:
            found = self._trained | {f"val_{name}": value for name, value in found.items()}
        self._trained = None
        if logs is not None:
            logs.update(found)


def average_statistics(model: keras.Model) -> None:
    """Gives all ranks the mean of their batch normalization's moving statistics."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    statistics = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
    averaged = hvd.grouped_allreduce([variable.value for variable in statistics], op=hvd.Average)
    for variable, value in zip(statistics, averaged, strict=True):
        variable.assign(value)


def _joint_results(model: keras.Model) -> dict[str, float]:
    """The metrics over what all ranks have measured since the last reset."""
    state = model.metrics_variables
    summed = hvd.grouped_allreduce([variable.value for variable in state], op=hvd.Sum)
    for variable, value in zip(state, summed, strict=True):
        variable.assign(value)
    return {name: float(value) for name, value in model.get_metrics_result().items()}


def share(rows: int, place: Place) -> range:
    """Which rows a rank measures: an even part, or all of them where there are too few for each to have one."""
    if rows < place.size:
        return range(rows)
    return range(rows * place.rank // place.size, rows * (place.rank + 1) // place.size)


def shard(rows: int, batch: int, *, rank: int, size: int, seed: int, epoch: int, accumulate: int = 1) -> np.ndarray:
    """Which rows a rank trains on in an epoch, in order: shape (steps, batch), the same steps on every rank.

    A pure function, so a resumed run sees what the first would have seen. Step s of all ranks together is step s of one
    rank with ``size * batch``. The remainder of less than one global batch is left out, other rows in each epoch.
    ``fit(shuffle=False)`` must keep this order: by default it shuffles a ``PyDataset``'s batches in each rank anew.

    Args:
        accumulate: steps that make an update; an epoch has whole updates only.

    Raises:
        BadInput: there are fewer rows than one update takes.
    """
    steps = rows // (batch * size * accumulate) * accumulate
    if steps == 0:
        together = f", {accumulate} times for an update" if accumulate > 1 else ""
        raise BadInput(
            f"{rows} training rows do not fill one batch of {batch} on each of {size} ranks{together}",
            f"use fewer ranks, or a batch of at most {rows // size // accumulate}",
        )
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[: steps * size * batch].reshape(steps, size, batch)[:, rank]
