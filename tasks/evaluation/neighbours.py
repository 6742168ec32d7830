"""The training rows that look most like a test row to the model: where an error may have been learnt."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from tasks.core.shards import evenly

ROWS = 10_000
"""Training rows that are looked at, evenly spaced."""

NEAREST = 5

_BATCH = 256

Source = Mapping[str, np.ndarray]
"""What a model takes, by name, (N, ...) each."""


class Near(NamedTuple):
    """A training row by its number, and its Euclidean distance."""

    row: int
    distance: float


def nearest(model: keras.Model, train: Source, test: Source) -> list[list[Near]]:
    """The `NEAREST` training rows of each test row, the nearest first, by what goes into the model's last dense layer.

    Of an ensemble, what goes into those of its members stands side by side.

    Args:
        train: the training split's inputs; read a batch at a time.
        test: those of a few test rows.
    """
    seen = _last_inputs(model)
    wanted = np.concatenate([vectors for _, vectors in _embedded(seen, test, np.arange(len(test["features"])))])
    best = np.full((len(wanted), NEAREST), np.inf)
    rows = np.zeros((len(wanted), NEAREST), np.int64)
    for numbers, vectors in _embedded(seen, train, evenly(len(train["features"]), ROWS)):
        distances = np.sqrt(((wanted[:, None] - vectors[None]) ** 2).sum(axis=2))
        both = np.concatenate([best, distances], axis=1)
        order = np.argsort(both, axis=1, kind="stable")[:, :NEAREST]
        candidates = np.concatenate([rows, np.broadcast_to(numbers, distances.shape)], axis=1)
        best, rows = np.take_along_axis(both, order, axis=1), np.take_along_axis(candidates, order, axis=1)
    found = [zip(line, far, strict=True) for line, far in zip(rows, best, strict=True)]
    return [[Near(int(row), round(float(far), 4)) for row, far in line if np.isfinite(far)] for line in found]


def _last_inputs(model: keras.Model) -> keras.Model:
    """From the model's inputs to what goes into its last dense layer, (N, F)."""
    members = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if members:
        vectors = [_last_inputs(member)(model.inputs) for member in members]
        return keras.Model(model.inputs, layers.Concatenate()(vectors) if len(vectors) > 1 else vectors[0])
    dense = [layer for layer in model.layers if isinstance(layer, layers.Dense) and layer.name == "logits"]
    return keras.Model(model.inputs, dense[-1].input)


def _embedded(model: keras.Model, source: Source, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of rows and their vectors, float64 (n, F), a batch at a time."""
    for start in range(0, len(rows), _BATCH):
        numbers = rows[start : start + _BATCH]
        batch = {name: np.asarray(values[numbers]) for name, values in source.items()}
        yield numbers, keras.ops.convert_to_numpy(model(batch, training=False)).astype(np.float64)
