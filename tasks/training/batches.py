"""What ``fit`` is fed: a split in memory, and its batches in a given order."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tasks.core.shards import read_split

EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Rows:
    """A split, aligned: images uint8 (N, H, W, C), transformed features float32 (N, D), labels int32 (N,)."""

    images: np.ndarray
    features: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """What a model of `tasks.models` takes."""
        return {"image": self.images, "features": self.features}


def read_rows(dataset: Path, transform: Path, split: str) -> Rows:
    """The split ``train`` or ``validation`` from the artifacts of the dataset and transform stages."""
    rows = read_split(dataset, split)
    return Rows(rows.images, np.load(transform / f"{split}.npy"), rows.labels)


def in_order(rows: Rows, order: Callable[[int], np.ndarray], epochs: range) -> tf.data.Dataset:
    """The batches of all ``epochs`` in a row, gathered in TensorFlow: Python runs once per epoch.

    Args:
        order: epoch to row numbers, int64 (steps, batch), the same shape for every epoch.
    """
    images, features, labels = (tf.constant(values) for values in (rows.images, rows.features, rows.labels))

    def gather(index: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return {"image": tf.gather(images, index), "features": tf.gather(features, index)}, tf.gather(labels, index)

    signature = tf.TensorSpec(order(0).shape, tf.int64)
    orders = tf.data.Dataset.from_generator(lambda: map(order, epochs), output_signature=signature)
    return orders.unbatch().map(gather).prefetch(2)


def as_stored(rows: Rows) -> tf.data.Dataset:
    """All rows once, in large batches, to measure a model on."""
    return tf.data.Dataset.from_tensor_slices((rows.inputs, rows.labels)).batch(EVALUATION_BATCH)
