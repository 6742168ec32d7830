"""The training loop: one ``fit`` for a trial in this process and for the ranks of a Horovod job.

The result is a function of the job alone, to the bit: seeded weights and dropout, an order of rows that is a pure
function of (seed, epoch), deterministic kernels on one thread, and exact resumption from the last checkpoint.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import horovod.tensorflow as hvd
import keras
import numpy as np
import tensorflow as tf

from tasks.core.errors import UpdraftError
from tasks.core.layout import Layout
from tasks.core.spec import Project, Training
from tasks.models import build_model
from tasks.training import callbacks, distributed, local_sgd, sampling, start, stopping, targets, xla
from tasks.training.adaptive import Adaptive, Order
from tasks.training.augmentation import augment
from tasks.training.batches import Rows, as_stored, in_order, read_rows
from tasks.training.checkpoint import Checkpoints, History
from tasks.training.distributed import Place
from tasks.training.losses import make_loss, make_metric
from tasks.training.optimizers import accumulate, intercept, make_optimizer
from tasks.training.precision import computing_in
from tasks.training.progress import Progress
from tasks.training.resume import resume

Log = Callable[[str], None]

EVENTS = "tensorboard"
"""Folder under UPDRAFT_HOME that ``tensorboard --logdir`` is given: project, then study or training, then trial."""


@dataclass(frozen=True)
class Job:
    """One model to fit.

    Attributes:
        spec: the project, a trial's parameters applied.
        dataset: folder of the dataset's shards.
        transform: folder of the transformed features, ``<split>.npy``.
        epochs: passes over the training split.
        checkpoints: to resume from and to save in; None: neither.
        fold: of a cross-validation, that validates; None: the validation split does.
        start: weights file that layers begin from, see `tasks.training.start`; None: all begin at random.
        events: folder for TensorBoard's event files; None: none are written.
        build: makes the model to train; its weights are those of the family's own.
        callbacks: that change the model as it is trained.
    """

    spec: Project
    dataset: Path
    transform: Path
    epochs: int
    checkpoints: Checkpoints | None = None
    fold: int | None = None
    start: Path | None = None
    events: Path | None = None
    build: Callable[[Project, Layout], keras.Model] = build_model
    callbacks: Sequence[keras.callbacks.Callback] = ()


def never(epochs: int, entry: Mapping[str, float]) -> bool:
    """No epoch is a reason to stop."""
    return False


def fit(job: Job, log: Log, *, horovod: bool = False, judged: callbacks.Judged = never) -> tuple[keras.Model, History]:
    """Trains the job's model: alone in this process, or as this rank of the Horovod job it is in.

    Args:
        judged: asked after each epoch; rank 0's answer counts.

    Returns:
        The model as its family builds it, in float32, not compiled; of a regression in the label's unit. Its weights
        are the last epoch's, averaged ones if the spec says so, or the best epoch's (`stopping.kept_entry`).

    Raises:
        BadInput: fewer training rows than an update takes, options that exclude each other, or XLA cannot compile the
            model.
        UpdraftError: TensorFlow already runs with several threads per operation here.
    """
    place = Place(hvd.rank(), hvd.size(), horovod=True) if horovod else Place()
    training = job.spec.training
    configure(training.seed)
    train, validation = (read_rows(job.dataset, job.transform, split, job.fold) for split in ("train", "validation"))
    unit = targets.measure(train.labels) if job.spec.is_regression else None
    if unit:
        train, validation = unit.scaled(train), unit.scaled(validation)
    pool = sampling.draw(train, job.spec)
    explained = xla.explained(job.spec.model.family) if training.xla else nullcontext()
    with computing_in(training.precision), explained:
        model, history = _train(job, pool, validation, place, log, judged)
    return _finished(job, model, unit), history


def _train(
    job: Job, pool: sampling.Pool, validation: Rows, place: Place, log: Log, judged: callbacks.Judged
) -> tuple[keras.Model, History]:
    """``fit``'s middle part: rows in, and out the model that Keras has trained."""
    training = job.spec.training
    batch = training.batch_size // place.size

    def order(epoch: int) -> np.ndarray:
        drawn = {"seed": training.seed, "epoch": epoch, "accumulate": training.accumulate}
        return distributed.shard(len(pool), batch, rank=place.rank, size=place.size, **drawn)

    steps = len(order(0))
    model = compiled(job, steps, horovod=place.horovod)
    begun = start.apply(model, job.start, log) if job.start else []
    history, kept = resume(job.checkpoints, model, place)
    progress = Progress(job.epochs, steps * training.batch_size, history, log)
    saved = job.checkpoints if place.rank == 0 else None
    every = [
        *_frozen(job, begun),
        *job.callbacks,
        progress,
        *_events(job, place),
        *callbacks.following(training, history, kept, model.trainable_variables, saved),
        callbacks.Judge(training, history, judged, place),
    ]
    done, epochs = len(history), job.epochs
    if stopping.is_over(history, training.early_stopping):
        epochs = done
    measured = distributed.share(len(validation), place)
    with _sampled(job.spec, pool, order, place) as (next_order, more):
        model.fit(
            augment(in_order(pool, next_order, range(done, epochs), batch), job.spec, steps, done, place.rank),
            initial_epoch=done,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=as_stored(validation, measured),
            callbacks=callbacks.among_ranks([*every, *more], training) if place.horovod else [*every, *more],
            shuffle=False,
            verbose=0,
        )
    return model, history


def compiled(job: Job, steps: int, *, horovod: bool = False) -> keras.Model:
    """The model of the spec, as it is trained.

    Args:
        steps: batches per epoch.
        horovod: whether this process is a rank.

    Raises:
        BadInput: see `fit`.
    """
    training = job.spec.training
    model = job.build(job.spec, Layout.read(job.transform))
    optimizer = make_optimizer(job.spec, steps, job.epochs)
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer=_prepared(optimizer, model, training, horovod),
        loss=make_loss(job.spec),
        # An instance: from a name, Keras makes the metric's variables as it traces the step, and has to trace it again.
        metrics=[make_metric(job.spec)],
        jit_compile=False,  # see `xla`
    )
    if training.xla:
        xla.compile_step(model)
    return model


def _prepared(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, training: Training, horovod: bool
) -> keras.optimizers.Optimizer:
    """What happens between gradients and update: what is put in last comes first."""
    optimizer = intercept(optimizer, lambda apply, grads, variables: apply(grads, variables))
    if horovod and training.sync_every > 1:
        local_sgd.average_every(optimizer, model, training.sync_every)
    elif horovod:
        distributed.wrap_optimizer(optimizer, compress=training.compress)
    if training.accumulate > 1:
        accumulate(optimizer, model.trainable_variables, training.accumulate)
    return optimizer


def _events(job: Job, place: Place) -> callbacks.Callbacks:
    writes = job.events is not None and place.rank == 0
    return [keras.callbacks.TensorBoard(job.events, write_graph=False)] if writes else []


def _frozen(job: Job, begun: list[keras.layers.Layer]) -> callbacks.Callbacks:
    epochs = job.spec.model.start.frozen_epochs if job.spec.model.start else 0
    return [start.Frozen(begun, epochs)] if begun and epochs else []


def _finished(job: Job, trained: keras.Model, unit: targets.Unit | None) -> keras.Model:
    """The trained weights in a model that computes in float32 and brings along nothing of the training."""
    weights = trained.get_weights()
    keras.backend.clear_session()  # layers have the same names again
    model = build_model(job.spec, Layout.read(job.transform))
    model.set_weights(weights)
    return targets.in_unit(model, unit) if unit else model


@contextmanager
def _sampled(
    spec: Project, pool: sampling.Pool, order: Order, place: Place
) -> Iterator[tuple[Order, callbacks.Callbacks]]:
    """The order of rows, adapted to the model if the spec says so, and the callbacks that this takes."""
    if not spec.sampling.adaptive:
        yield order, []
        return
    loss = make_loss(spec, reduction=None)
    ranks: dict[str, Any] = {}
    if place.horovod:
        ranks = {"rank": place.rank, "size": place.size, "gather": lambda v: hvd.allgather(tf.constant(v)).numpy()}
    adaptive = Adaptive(pool, order, loss, spec.training.seed, **ranks)
    try:
        yield adaptive.order, [adaptive]
    finally:
        adaptive.close()


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
