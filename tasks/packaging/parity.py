"""Whether a package predicts what the trained model does."""

import json

import keras
import numpy as np
import pyarrow as pa

from tasks.core.errors import Refused
from tasks.core.shards import Split, as_split, chosen, evenly
from tasks.core.stages import Context
from tasks.packaging.inference import FEATURES, Inference
from tasks.runtime.predictor import Inputs, Predictor

PARITY_ROWS = 1000
"""Training rows replayed at most."""

PARITY_TOLERANCE = 1e-4
"""Largest difference between two probabilities, and of numbers between two, in standard deviations of the labels."""


def trained_predictions(model: keras.Model, inputs: dict[str, np.ndarray], *, classes: bool) -> np.ndarray:
    """What the model gave in training: probabilities, float32 (N, classes), or numbers, (N, 1).

    Args:
        inputs: the model's own: ``features`` transformed, and ``image``, if there is one.
        classes: whether the model gives logits of classes, or numbers.
    """
    found = model.predict(inputs, batch_size=256, verbose=0)
    return np.asarray(keras.ops.softmax(found) if classes else found)


def number_tolerance(labels: np.ndarray) -> float:
    """How far two numbers that are predicted for the same row may be apart, in the unit of ``labels``, float32 (N,).

    Numbers far from 0 that hardly differ are told apart no better than single precision can.
    """
    return float(PARITY_TOLERANCE * labels.std(dtype=np.float64) + 8 * np.spacing(np.abs(labels).max()))


def check_parity(
    found: np.ndarray, expected: np.ndarray, entities: list[str], tolerance: float = PARITY_TOLERANCE
) -> float:
    """The largest difference of a prediction between the package and the trained model.

    Args:
        found: what the package gave, float32 (N, classes) or (N, 1).
        expected: what the model gave in training, of the same shape.
        entities: the rows' names.
        tolerance: the largest difference that passes.

    Raises:
        Refused: it is larger. (Of probabilities, only classes as likely as each other can change places up to it.)
    """
    differences = np.abs(found - expected).max(axis=1)
    # Not a number is no parity either.
    bad = np.flatnonzero(~(differences <= tolerance))
    if len(bad):
        named = ", ".join(f"{entities[row]} ({differences[row]:.2g})" for row in bad[:5])
        raise Refused(
            f"The package predicts otherwise than the trained model on {len(bad)} of {len(found)} rows: {named}.",
            "Nothing was packaged. Compare decoder, extractors and transform of training and serving.",
        )
    return float(differences.max())


class Replay:
    """Training rows, evenly spaced, that go through packages as they were received.

    Args:
        ctx: of the export stage.
        table: the training split's, as `tasks.core.shards.read_table` gives it.
    """

    def __init__(self, ctx: Context, table: pa.Table) -> None:
        self._ctx, self._table = ctx, table
        self._rows = evenly(table.num_rows, PARITY_ROWS)
        self._split = as_split(chosen(table, self._rows))
        labels = table["label"].to_numpy()
        self._classes = not ctx.spec.is_regression
        self._tolerance = PARITY_TOLERANCE if self._classes else number_tolerance(labels)

    def __len__(self) -> int:
        return len(self._rows)

    def first(self, predictor: Predictor) -> Inputs:
        """The first row, ready for the graph."""
        if self._split.rows is None:
            return predictor.prepare(self._ctx.store.read_bytes(self._split.uris[0]))
        return predictor.prepare_rows([json.loads(self._split.rows[0])])

    def check(self, predictor: Predictor, inference: Inference, *, exact: bool) -> float:
        """The largest difference of a prediction to the Keras model's on the transformed rows.

        Args:
            exact: whether a difference above the tolerance is refused.

        Raises:
            Refused: see `check_parity`; if not ``exact``, of predictions that are no numbers.
        """
        given = self._inputs(self._rows, self._split)
        expected = trained_predictions(inference.model, given, classes=self._classes)
        tolerance = self._tolerance if exact else np.inf
        return check_parity(self._received(predictor), expected, list(self._split.entities), tolerance)

    def raw(self, rows: int) -> dict[str, np.ndarray]:
        """The raw inputs of so many training rows: feature groups and, if there is one, ``image``."""
        split = as_split(chosen(self._table, evenly(self._table.num_rows, rows)))
        return dict(split.features) | ({} if split.images is None else {"image": split.images})

    def transformed(self, rows: int) -> dict[str, np.ndarray]:
        """The same, transformed: `FEATURES` and ``image``."""
        numbers = evenly(self._table.num_rows, rows)
        given = self._inputs(numbers, as_split(chosen(self._table, numbers)))
        return given | {FEATURES: given.pop("features")}

    def _inputs(self, rows: np.ndarray, split: Split) -> dict[str, np.ndarray]:
        features = np.load(self._ctx.file(self._ctx.input("transform"), "train.npy"), mmap_mode="r")
        image = {} if split.images is None else {"image": split.images}
        return image | {"features": np.asarray(features[rows])}

    def _received(self, predictor: Predictor) -> np.ndarray:
        """What the package makes of the rows as they were received."""
        if self._split.rows is None:
            return predictor.predict_bytes(map(self._ctx.store.read_bytes, self._split.uris))
        return predictor.predict_rows(map(json.loads, self._split.rows))
