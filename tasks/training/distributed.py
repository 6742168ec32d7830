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

from collections.abc import Sequence
from typing import Any

import horovod.tensorflow as hvd
import keras
import numpy as np
import tensorflow as tf

from tasks.core.errors import BadInput


def wrap_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Make this instance average gradients over all ranks before it applies them; returns it.

    Wrap what ``compile`` gets: the outermost one, so a ``LossScaleOptimizer`` rather than what it holds, and once more
    after each ``load_model``, which makes a new instance. Gradients of embeddings are reduced densely.
    """
    apply = optimizer.apply

    def apply_averaged(grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        apply(_averaged(grads), trainable_variables)

    optimizer.apply = apply_averaged
    return optimizer


def callbacks(others: Sequence[keras.callbacks.Callback] = ()) -> list[keras.callbacks.Callback]:
    """The callbacks for ``fit``, ours first: what decides at an epoch's end must see the average over ranks.

    Callbacks that stop training within an epoch are not for a job of several ranks: one rank would stop alone.
    """
    return [RankSync(), *others]


class RankSync(keras.callbacks.Callback):
    """Same start for all ranks, and the same logs and batch normalization statistics wherever these are read.

    At the start of training, weights and optimizer state are rank 0's, so a checkpoint need be loaded there only.
    Before validation and at each epoch's end, moving statistics are averaged, then ``logs`` in place.
    """

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Give every rank the weights and optimizer variables of rank 0."""
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        state = [*self.model.weights, *optimizer.variables]
        hvd.broadcast_variables([variable.value for variable in state], root_rank=0)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Validate the model that will be saved: the one with averaged statistics."""
        self._average_statistics()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Average the statistics, and the logs that later callbacks and the history read."""
        self._average_statistics()
        if logs:
            names = sorted(logs)
            values = hvd.allreduce(tf.constant([float(logs[name]) for name in names], tf.float64), op=hvd.Average)
            logs.update(zip(names, values.numpy().tolist(), strict=True))

    def _average_statistics(self) -> None:
        layers = [layer for layer in self.model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        statistics = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
        averaged = hvd.grouped_allreduce([variable.value for variable in statistics], op=hvd.Average)
        for variable, value in zip(statistics, averaged, strict=True):
            variable.assign(value)


def shard(rows: int, batch: int, *, rank: int, size: int, seed: int, epoch: int) -> np.ndarray:
    """Which rows a rank trains on in an epoch, in order: shape (steps, batch), the same steps on every rank.

    A pure function, so a resumed run sees what the first would have seen. Step s of all ranks together is step s of one
    rank with ``size * batch``. The remainder of less than one global batch is left out, other rows in each epoch.
    ``fit(shuffle=False)`` must keep this order: by default it shuffles a ``PyDataset``'s batches in each rank anew.

    Raises:
        BadInput: there are fewer rows than one global batch.
    """
    steps = rows // (batch * size)
    if steps == 0:
        raise BadInput(
            f"{rows} training rows do not fill one batch of {batch} on each of {size} ranks",
            f"use fewer ranks, or a batch of at most {rows // size}",
        )
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[: steps * size * batch].reshape(steps, size, batch)[:, rank]


def _averaged(grads: Sequence[Any]) -> list[Any]:
    """Average what is not None in one fused reduction."""
    dense = [tf.convert_to_tensor(grad) for grad in grads if grad is not None]
    averaged = iter(hvd.grouped_allreduce(dense, op=hvd.Average))
    return [None if grad is None else next(averaged) for grad in grads]
