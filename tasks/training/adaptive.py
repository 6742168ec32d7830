"""Adaptive sampling: rows that are rare or badly predicted are drawn more often.

After each epoch the model is measured on every row of the pool; the next epoch draws from a mixture of equal parts:
each class the same (of a regression, each row), and each row in proportion to its loss (after Katharopoulos and
Fleuret, "Not all samples are created equal", 2018). Losses follow from the weights alone, so a resumed run measures
them again from its checkpoint instead of keeping them, and ranks that hold the same weights draw the same rows.
"""

import threading
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tasks.training.batches import as_stored
from tasks.training.sampling import Pool, class_weights

Order = Callable[[int], np.ndarray]
"""Epoch to the numbers of its rows, int64 (steps, batch)."""


class Adaptive(keras.callbacks.Callback):
    """Measures the pool's losses at each epoch's end, and makes the next epoch's order of them.

    Args:
        pool: what is drawn from.
        first: the order of the first epoch, in which every row has its turn.
        loss: per row, from labels and logits.
        seed: of the draws.
        rank: of this process.
        size: how many ranks there are.
        gather: joins what each rank measured along the first axis, in the order of the ranks.
    """

    def __init__(
        self,
        pool: Pool,
        first: Order,
        loss: keras.losses.Loss,
        seed: int,
        *,
        rank: int = 0,
        size: int = 1,
        gather: Callable[[np.ndarray], np.ndarray] = lambda values: values,
    ) -> None:
        super().__init__()
        self._pool, self._first, self._loss, self._seed = pool, first, loss, seed
        self._rank, self._size, self._gather = rank, size, gather
        self._shares: dict[int, np.ndarray] = {}
        self._changed = threading.Condition()
        self._over = False

    def order(self, epoch: int) -> np.ndarray:
        """This rank's rows of an epoch; waits, in the thread that feeds the training, until the one before is measured.

        Raises:
            StopIteration: training is over.
        """
        steps, batch = (order := self._first(epoch)).shape
        if epoch == 0:
            return order
        with self._changed:
            self._changed.wait_for(lambda: self._over or epoch in self._shares)
            if self._over:
                raise StopIteration
            shares = self._shares[epoch]
        drawn = draw_rows(shares, steps * batch * self._size, np.random.default_rng([self._seed, epoch]))
        rows: np.ndarray = drawn.reshape(steps, self._size, batch)[:, self._rank]
        return rows

    def close(self) -> None:
        """Lets go of a thread that waits."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measures what a resumed run starts from."""
        if epoch > 0 and epoch not in self._shares:
            self._measure(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measures what the next epoch draws from."""
        if epoch + 1 < self.params["epochs"]:
            self._measure(epoch + 1)

    def _measure(self, epoch: int) -> None:
        mine = np.array_split(np.arange(len(self._pool)), self._size)[self._rank]
        rows = range(mine[0], mine[-1] + 1) if len(mine) else range(0)
        losses = [self._losses(inputs, labels).numpy() for inputs, labels, *_ in as_stored(self._pool, rows)]
        found = self._gather(np.concatenate([np.zeros(0, np.float32), *losses]))
        with self._changed:
            self._shares = {epoch: mixture(found, self._pool.labels)}
            self._changed.notify_all()

    @tf.function(reduce_retracing=True)
    def _losses(self, inputs: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
        return self._loss(labels, self.model(inputs, training=False))


def mixture(losses: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each row's share of the draws, float64 (N,): half by class, half by loss, where one that is no number is 0."""
    numbers = np.issubdtype(labels.dtype, np.floating)
    by_class = np.ones(len(labels)) if numbers else class_weights(labels).astype(np.float64)
    by_loss = np.nan_to_num(losses.astype(np.float64), nan=0, posinf=0, neginf=0)
    if not by_loss.any():
        by_loss = by_class
    return 0.5 * by_class / by_class.sum() + 0.5 * by_loss / by_loss.sum()


def draw_rows(shares: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Draws ``count`` row numbers, shuffled: each row its share of them, rounded up or down by chance.

    Systematic resampling: one random offset and even steps, so that little but the shares decides.
    """
    marks = (random.random() + np.arange(count)) / count
    rows = np.searchsorted(np.cumsum(shares) / shares.sum(), marks, "right")
    return random.permutation(np.minimum(rows, len(shares) - 1))
