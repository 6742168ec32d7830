"""The training loop: one ``fit`` for a trial in this process and for the ranks of a Horovod job.

The result is a function of the job alone, to the bit: seeded weights and dropout, an order of rows that is a pure
function of (seed, epoch), deterministic kernels on one thread, and exact resumption from the last checkpoint.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import horovod.tensorflow as hvd
import keras
import numpy as np
import tensorflow as tf

from tasks.core.errors import UpdraftError
from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models import build_model
from tasks.training import checkpoint, distributed, sampling
from tasks.training.adaptive import Adaptive, Order
from tasks.training.batches import as_stored, in_order, read_rows
from tasks.training.checkpoint import History
from tasks.training.progress import Progress

Log = Callable[[str], None]

LOSSES: Mapping[str, Callable[..., keras.losses.Loss]] = {
    "cross_entropy": partial(keras.losses.SparseCategoricalCrossentropy, from_logits=True),
}
"""``spec.loss`` to the loss over logits."""


@dataclass(frozen=True)
class Job:
    """One model to fit.

    Attributes:
        spec: the project, a trial's parameters applied.
        dataset: folder of the dataset's shards.
        transform: folder of the transformed features, ``<split>.npy``.
        epochs: passes over the training split.
        checkpoints: folder to resume from and to save each epoch in; None: neither.
    """

    spec: Project
    dataset: Path
    transform: Path
    epochs: int
    checkpoints: Path | None = None


def train_rank(payload: Mapping[str, Any]) -> dict[str, Any]:
    """One rank of a Horovod job: the launcher's target.

    Args:
        payload: ``spec`` as JSON types, the paths ``dataset``, ``transform`` and ``checkpoints``, and ``model``, where
            rank 0 writes the trained model.

    Returns:
        ``digest`` of this rank's weights, and ``history``.
    """
    hvd.init()
    spec = Project.model_validate(payload["spec"])
    folders = {name: Path(payload[name]) for name in ("dataset", "transform", "checkpoints")}
    log: Log = (lambda line: print(line, flush=True)) if hvd.rank() == 0 else (lambda line: None)
    model, history = fit(Job(spec, **folders, epochs=spec.training.epochs), log, horovod=True)
    if hvd.rank() == 0:
        model.save(payload["model"])
    return {"digest": weights_digest(model), "history": history}


def fit(job: Job, log: Log, *, horovod: bool = False) -> tuple[keras.Model, History]:
    """Trains the job's model: alone in this process, or as this rank of the Horovod job it is in.

    Raises:
        BadInput: fewer training rows than a batch.
        UpdraftError: TensorFlow already runs with several threads per operation here.
    """
    rank, size = (hvd.rank(), hvd.size()) if horovod else (0, 1)
    training = job.spec.training
    configure(training.seed)
    train, validation = (read_rows(job.dataset, job.transform, split) for split in ("train", "validation"))
    pool = sampling.draw(train, job.spec)

    batch = training.batch_size // size

    def order(epoch: int) -> np.ndarray:
        return distributed.shard(len(pool), batch, rank=rank, size=size, seed=training.seed, epoch=epoch)

    steps = len(order(0))
    model = compiled(job, steps, distributed.wrap_optimizer if horovod else None)
    history = _resume(job, model, horovod)
    _spread_seeds(model, rank)
    callbacks: list[keras.callbacks.Callback] = [Progress(job.epochs, steps * training.batch_size, history, log)]
    if job.checkpoints and rank == 0:
        callbacks.append(_SaveEachEpoch(job.checkpoints, history))
    with _sampled(job.spec, pool, order, horovod) as (next_order, more):
        model.fit(
            in_order(pool, next_order, range(len(history), job.epochs), batch),
            initial_epoch=len(history),
            epochs=job.epochs,
            steps_per_epoch=steps,
            validation_data=as_stored(validation, range(len(validation))),
            callbacks=distributed.callbacks([*callbacks, *more]) if horovod else [*callbacks, *more],
            shuffle=False,
            verbose=0,
        )
    return model, history


@contextmanager
def _sampled(
    spec: Project, pool: sampling.Pool, order: Order, horovod: bool
) -> Iterator[tuple[Order, list[keras.callbacks.Callback]]]:
    """The order of rows, adapted to the model if the spec says so, and the callbacks that this takes."""
    if not spec.sampling.adaptive:
        yield order, []
        return
    loss = LOSSES[spec.loss](reduction=None)
    ranks = {"rank": hvd.rank(), "size": hvd.size(), "gather": _gather} if horovod else {}
    adaptive = Adaptive(pool, order, loss, spec.training.seed, **ranks)
    try:
        yield adaptive.order, [adaptive]
    finally:
        adaptive.close()


def _gather(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = hvd.allgather(tf.constant(values)).numpy()
    return found


def configure(seed: int) -> None:
    """Makes this process's TensorFlow deterministic, and seeds it.

    Raises:
        UpdraftError: TensorFlow already runs with more than one thread per operation, which changes sums.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError:
        if os.environ.get("TF_NUM_INTRAOP_THREADS") != "1":
            raise UpdraftError(
                "TensorFlow already runs in this process with several threads per operation; results would not repeat.",
                "Set TF_NUM_INTRAOP_THREADS=1 before the process starts.",
            ) from None
    tf.config.experimental.enable_op_determinism()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over the exact bytes of all weights, batch statistics included, in the model's order."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(f"{weight.dtype} {weight.shape};".encode() + weight.tobytes())
    return digest.hexdigest()


class _SaveEachEpoch(keras.callbacks.Callback):
    """Stands after `Progress`, which appends the epoch to the history that is saved."""

    def __init__(self, folder: Path, history: History) -> None:
        super().__init__()
        self._folder, self._history = folder, history

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        checkpoint.save(self._folder, self.model, self._history)


def compiled(
    job: Job,
    steps: int,
    wrap: Callable[[keras.optimizers.Optimizer], keras.optimizers.Optimizer] | None = None,
) -> keras.Model:
    """The model of the spec, its learning rate falling to zero along a cosine (Loshchilov and Hutter, SGDR, 2017).

    Args:
        steps: per epoch.
        wrap: what the optimizer is passed through.
    """
    training = job.spec.training
    model = build_model(job.spec, Layout.read(job.transform))
    rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, job.epochs * steps)
    optimizer = keras.optimizers.get({"class_name": training.optimizer, "config": {"learning_rate": rate}})
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer=wrap(optimizer) if wrap else optimizer,
        loss=LOSSES[job.spec.loss](),
        # An instance: from a name, Keras makes the metric's variables as it traces the step, and has to trace it again.
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        jit_compile=False,  # XLA cannot compile Horovod's operations, and a trial must compute what a rank computes
    )
    return model


def _resume(job: Job, model: keras.Model, horovod: bool) -> History:
    """The history so far. Rank 0 reads the checkpoint: the others may have no such folder."""
    if not job.checkpoints:
        return []
    if not horovod:
        return checkpoint.restore(job.checkpoints, model)
    history: History = hvd.broadcast_object(
        checkpoint.restore(job.checkpoints, model) if hvd.rank() == 0 else None, root_rank=0
    )
    state = [*model.weights, *model.optimizer.variables, *checkpoint.seed_states(model)]
    hvd.broadcast_variables([variable.value for variable in state], root_rank=0)
    return history


def _spread_seeds(model: keras.Model, rank: int) -> None:
    """Gives each rank dropout masks of its own; the checkpoint holds rank 0's, from which the others follow."""
    for state in checkpoint.seed_states(model):
        state.assign(state + np.array([rank, 0], np.uint32))
