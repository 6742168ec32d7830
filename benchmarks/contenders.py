"""The ways to train one small ResNet that `benchmarks.ranks` compares; each runs in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import synthetic
from tasks.core.layout import Layout
from tasks.core.spec import Project

SIDE, FEATURES = 32, 8
ROWS = {"train": 2048, "validation": 64}
BATCH = 64
EPOCHS = 4


def spec(ranks: int, batch: int = BATCH, epochs: int = EPOCHS) -> Project:
    """The model, and how it is trained."""
    model = {"model.family": "resnet", "model.filters": [16, 32, 64], "model.depth": 1, "model.units": []}
    fitting = {"training.ranks": ranks, "training.batch_size": batch, "training.epochs": epochs}
    return synthetic.project(SIDE, model | fitting)


def platform(home: Path, ranks: int, batch: int, every: int, epochs: int = EPOCHS) -> list[float]:
    """What the train stage launches; an epoch lasts from one line of rank 0's log to the next.

    Args:
        home: of the data and the checkpoints.
        batch: of all ranks together.
        every: epochs from one checkpoint to the next.
        epochs: in all.
    """
    from tasks.training.jobs.launcher import launch

    payload = {
        "spec": spec(ranks, batch, epochs).model_dump(mode="json"),
        "store": str(home),
        "dataset": "data",
        "transform": "data",
        "start": None,
        "events": f"ranks/{os.getpid()}",
        "checkpoints": {"store_uri": str(home), "folder": f"checkpoints-{os.getpid()}", "every": every, "keep": 1},
    }
    ends: list[float] = []

    def note(line: str) -> None:
        if " epoch " in line:
            ends.append(time.perf_counter())

    launch("tasks.training.train:train_rank", payload, ranks=ranks, log=note)
    return ends


def expert(home: Path) -> list[float]:
    """Keras as its guide shows it: arrays in memory, and a thread per core."""
    import keras

    ends: list[float] = []
    keras.utils.set_random_seed(0)
    model = _model()
    # Its own choice, XLA, took twice as long where this was tried.
    model.compile("adam", _loss(), metrics=["accuracy"], jit_compile=False)
    (inputs, labels), validation = (_arrays(home, split) for split in ROWS)
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    model.fit(
        inputs, labels, BATCH, epochs=EPOCHS, validation_data=validation, callbacks=[clock], verbose=0, shuffle=True
    )
    return ends


def distribute(home: Path) -> list[float]:
    """Two workers of tf.distribute's multi-worker strategy, one thread each."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    workers = []
    for index in range(2):
        place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(place)}
        command = [sys.executable, "-m", __spec__.name, "worker", str(home)]
        workers.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    said = [worker.communicate()[0] for worker in workers]
    for worker in workers:
        if worker.returncode:
            raise subprocess.CalledProcessError(worker.returncode, worker.args)
    found: list[float] = json.loads(said[0].splitlines()[-1])
    return found


def worker(home: Path) -> list[float]:
    """One of them. A loop of its own, since Keras 3's ``fit`` refuses what this strategy gives it."""
    import keras
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    loss_of = _loss(reduction="sum")
    with strategy.scope():
        model, optimizer = _model(), keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)

    def step(inputs: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(inputs, training=True)) / BATCH
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)

    run = tf.function(lambda inputs, labels: strategy.run(step, args=(inputs, labels)))
    data = tf.data.Dataset.from_tensor_slices(_arrays(home, "train")).shuffle(ROWS["train"]).repeat().batch(BATCH)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = iter(strategy.experimental_distribute_dataset(data.with_options(options)))
    ends = []
    for _ in range(EPOCHS):
        for _ in range(ROWS["train"] // BATCH):
            run(*next(batches))
        ends.append(time.perf_counter())
    return ends


CONTENDERS: Mapping[str, Callable[[Path], list[float]]] = {
    "ranks": lambda home: platform(home, ranks=2, batch=BATCH, every=EPOCHS + 1),
    "rank": lambda home: platform(home, ranks=1, batch=BATCH // 2, every=EPOCHS + 1),
    "checkpoints": lambda home: platform(home, ranks=2, batch=BATCH, every=2, epochs=9),
    "expert": expert,
    "distribute": distribute,
    "worker": worker,
}
"""Name to what runs it in a folder, and says when each epoch ended."""


def _model() -> Any:
    from tasks.models import build_model

    return build_model(spec(1), Layout.plain(FEATURES))


def _loss(**options: Any) -> Any:
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


def _arrays(home: Path, split: str) -> tuple[dict[str, Any], Any]:
    import numpy as np

    from tasks.training.batches import read_rows

    rows = read_rows(home / "data", home / "data", split)
    return rows.take(np.arange(len(rows))), rows.labels


def _free_ports(count: int) -> list[int]:
    import socket
    from contextlib import ExitStack

    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]](Path(sys.argv[2]))))
