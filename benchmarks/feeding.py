"""Step rates of the platform's compiled models, fed from shards and from one batch that stays in memory."""

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import synthetic
from tasks.training.batches import in_order, read_rows
from tasks.training.distributed import shard
from tasks.training.loop import Job, compiled, configure

EPOCHS, ROUNDS = 3, 5
FEATURES = 64


@dataclass(frozen=True)
class Case:
    """One model and its split; ``side`` is its RGB images', None for a table."""

    name: str
    family: str
    side: int | None
    rows: int
    batch: int
    units: tuple[int, ...]


CASES = (
    Case("CNN, 64x64 images", "convnet", 64, 320, 32, (8,)),
    Case("MLP, 64 features of a table", "mlp", None, 32_768, 64, (128, 64)),
)
LARGE = Case("800 MB of images", "mlp", 64, 65_536, 64, (8,))


class Trainer:
    """The compiled model over a split of random rows, written to shards in ``folder``."""

    def __init__(self, case: Case, folder: Path) -> None:
        synthetic.write(folder, {"train": case.rows}, side=case.side, features=FEATURES)
        spec = synthetic.project(case.side, {"model.family": case.family, "model.units": case.units})
        configure(0)
        self._case, self._rows, self.steps = case, read_rows(folder, folder, "train"), case.rows // case.batch
        self._model = compiled(Job(spec, folder, folder, EPOCHS), self.steps)

    def shards(self) -> tf.data.Dataset:
        """What the platform feeds it."""

        def order(epoch: int) -> np.ndarray:
            return shard(self._case.rows, self._case.batch, rank=0, size=1, seed=0, epoch=epoch)

        return in_order(self._rows, order, range(EPOCHS), self._case.batch)

    def memory(self) -> tf.data.Dataset:
        """One batch again and again: nothing is read, gathered or copied."""
        return tf.data.Dataset.from_tensors(next(iter(self.shards()))).repeat()

    def rates(self, data: tf.data.Dataset) -> list[float]:
        """Steps per second of each epoch but the first, which also starts the data."""
        clock = _Clock()
        self._model.fit(data, epochs=EPOCHS, steps_per_epoch=self.steps, callbacks=[clock], verbose=0)
        return [self.steps / seconds for seconds in clock.seconds[1:]]


class _Clock(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds.append(-time.perf_counter())

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds[-1] += time.perf_counter()


def figures() -> Iterator[dict[str, object]]:
    """The arguments of `benchmarks.figures.Figure`, one after the other."""
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(case, Path(folder))
            shards, memory = _compare(trainer)
        against = f"a synthetic batch repeated in memory: {memory:.4g} steps/s"
        yield {"name": f"{case.name}, from shards", "value": shards, "unit": "steps/s", "against": against}
        name = f"{case.name}, shards : memory"
        yield {"name": name, "value": shards / memory, "unit": "", "target": ">= 0.95", "against": against}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(LARGE, Path(folder))
        before = _anonymous()
        trainer.rates(trainer.shards())
        grown = _anonymous() - before
    yield {"name": f"memory to train on {LARGE.name}", "value": grown, "unit": "MB", "target": "<= 200"}


def _compare(trainer: Trainer) -> tuple[float, float]:
    """The fastest epoch's rate from shards and from memory, turn about; other work on the machine slows the rest."""
    memory, found = trainer.memory(), [(0.0, 0.0)]
    for _ in range(ROUNDS):
        found += zip(trainer.rates(trainer.shards()), trainer.rates(memory), strict=True)
    return max(shards for shards, _ in found), max(repeated for _, repeated in found)


def _anonymous() -> float:
    """MB that this process holds beside mapped files, which the system may drop."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(list(figures())))
