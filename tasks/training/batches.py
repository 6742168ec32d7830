"""What ``fit`` is fed: batches gathered from a split's mapped files, in a given order.

Only the batches under way are in memory, so a split may be larger than that: the operating system keeps what it has
room for. Python runs once per `CHUNK_BYTES`, beside the training, and TensorFlow cuts that into steps.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tasks.core.errors import BadInput
from tasks.core.shards import read_table

CHUNK_BYTES = 4 * 2**20
AHEAD = 8
"""Batches that wait for the trainer."""

EVALUATION_BATCH = 1024
"""Rows that a model is measured on at a time, or fewer, if they are larger than `CHUNK_BYTES`."""

Arrays = Mapping[str, np.ndarray]


class Source(Protocol):
    """Rows that batches are gathered from."""

    @property
    def labels(self) -> np.ndarray:
        """int32, (N,); of a regression float32."""
        ...

    @property
    def weights(self) -> np.ndarray | None:
        """Each row's weight in the loss, float32 (N,); None: all the same."""
        ...

    def take(self, numbers: np.ndarray) -> Arrays:
        """The model's inputs of these rows, by name: int64 of any shape, to which the inputs' own is added."""
        ...


@dataclass(frozen=True)
class Rows:
    """A split on disk, aligned.

    Attributes:
        images: uint8 (n, H, W, C) per shard; None for a table.
        features: transformed, float32 (n, D) per file.
        labels: int32 (N,); of a regression float32.
        weights: see `Source`.
        numbers: which rows of the images' parts and the features' parts these are, int64 (N,); None: all of them.
    """

    images: Sequence[np.ndarray] | None
    features: Sequence[np.ndarray]
    labels: np.ndarray
    weights: np.ndarray | None = None
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        images = {} if self.images is None else {"image": _take(self.images, self._stored(numbers))}
        return images | {"features": self.features_of(numbers)}

    def features_of(self, numbers: np.ndarray) -> np.ndarray:
        """The features of these rows: int64 of any shape, to which theirs is added."""
        return _take(self.features, self._stored(numbers))

    def _stored(self, numbers: np.ndarray) -> np.ndarray:
        return numbers if self.numbers is None else self.numbers[numbers]


def read_rows(dataset: Path, transform: Path, split: str, fold: int | None = None) -> Rows:
    """The split ``train`` or ``validation`` from the artifacts of the dataset and transform stages.

    Args:
        fold: of a cross-validation. The rows of both splits together are then shared out anew: ``validation`` is those
            of this fold, ``train`` all others.

    Raises:
        BadInput: it is empty.
    """
    splits = (split,) if fold is None else ("train", "validation")
    table = pa.concat_tables(read_table(dataset, name) for name in splits)
    # As plain arrays over the mapped files: NumPy's own class for those is slow to index.
    features = [np.asarray(np.load(transform / f"{name}.npy", mmap_mode="r")) for name in splits]
    labels, numbers = table["label"].to_numpy(), None
    if fold is not None:
        numbers = np.flatnonzero((table["fold"].to_numpy() == fold) == (split == "validation"))
        labels = labels[numbers]
    if not len(labels):
        where = f"The {split} split" if fold is None else f"The {split} part of fold {fold}"
        raise BadInput(f"{where} has no rows.", f"Bring more data, or give split.{split} a larger share.")
    images = None
    if "image" in table.column_names:
        shape = json.loads(table.schema.metadata[b"image_shape"])
        images = [_mapped(chunk).reshape(-1, *shape) for chunk in table["image"].chunks]
    return Rows(images, features, labels, numbers=numbers)


def in_order(source: Source, order: Callable[[int], np.ndarray], epochs: range, batch: int) -> tf.data.Dataset:
    """The batches of all ``epochs`` in a row.

    Args:
        order: epoch to row numbers, int64 (steps, ``batch``). It is asked in another thread, for an epoch's numbers
            before the epoch ahead of it is over.
    """
    steps = max(1, CHUNK_BYTES // (batch * _row_bytes(source)))

    def chunks() -> Iterator[np.ndarray]:
        for numbers in map(order, epochs):
            yield from (numbers[start : start + steps] for start in range(0, len(numbers), steps))

    return _gathered(source, chunks, batch)


def as_stored(source: Source, rows: range) -> tf.data.Dataset:
    """A range of the rows once, in large batches, to measure a model on."""
    size = min(EVALUATION_BATCH, max(1, CHUNK_BYTES // _row_bytes(source)))
    starts = range(0, len(rows), size)
    batches = _gathered(source, lambda: (np.array([rows[at : at + size]]) for at in starts), None)
    return batches.apply(tf.data.experimental.assert_cardinality(len(starts)))


def _gathered(source: Source, chunks: Callable[[], Iterator[np.ndarray]], batch: int | None) -> tf.data.Dataset:
    """Batches of the rows that the ``chunks`` number, int64 (steps, batch) each: inputs, labels and weights, if any."""

    def gather(numbers: np.ndarray) -> tuple[Any, ...]:
        aligned = [source.labels] if source.weights is None else [source.labels, source.weights]
        return dict(source.take(numbers)), *(values[numbers] for values in aligned)

    signature = tf.nest.map_structure(
        lambda values: tf.TensorSpec((None, batch, *values.shape[2:]), values.dtype), gather(np.zeros((1, 1), np.int64))
    )
    steps = tf.data.Dataset.from_generator(lambda: map(gather, chunks()), output_signature=signature)
    # A chunk is gathered ahead, and some steps stand ready for when the system gives this thread no turn.
    return steps.prefetch(1).unbatch().prefetch(AHEAD)


def _row_bytes(source: Source) -> int:
    return max(1, sum(values.nbytes for values in source.take(np.zeros(1, np.int64)).values()))


def _mapped(chunk: pa.Array) -> np.ndarray:
    """The bytes of fixed-size binary values, still in the file."""
    size = chunk.type.byte_width
    return np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * size, chunk.offset * size)


def _take(parts: Sequence[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Rows of the parts laid end to end, by number."""
    if len(parts) == 1:
        return parts[0].take(numbers, axis=0)
    starts = np.cumsum([0, *map(len, parts)])
    owner = np.searchsorted(starts, numbers, "right") - 1
    rows = np.empty((*numbers.shape, *parts[0].shape[1:]), parts[0].dtype)
    for part in np.unique(owner):
        chosen = owner == part
        rows[chosen] = parts[part].take(numbers[chosen] - starts[part], axis=0)
    return rows
