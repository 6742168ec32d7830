"""A regression's labels as the model is trained on them: with mean 0 and deviation 1, whatever their unit.

Rates, penalties and the delta of the Huber loss then mean the same for euros and for millimetres.
"""

from dataclasses import dataclass, replace

import keras
import numpy as np

from tasks.training.batches import Rows


@dataclass(frozen=True)
class Unit:
    """Where a label's scale begins, and how long one step of it is."""

    mean: float
    deviation: float

    def scaled(self, rows: Rows) -> Rows:
        """The rows, labels as float32 multiples of the deviation from the mean."""
        labels = (rows.labels.astype(np.float64) - self.mean) / self.deviation
        return replace(rows, labels=labels.astype(np.float32))


def measure(labels: np.ndarray) -> Unit:
    """The unit of labels (N,). Of labels that are all the same, the deviation counts as 1."""
    values = labels.astype(np.float64)
    return Unit(float(values.mean()), float(values.std()) or 1.0)


def in_unit(model: keras.Model, unit: Unit) -> keras.Model:
    """The same network with one more layer, which turns scaled numbers (N, 1) back into the labels' own."""
    back = keras.layers.Rescaling(unit.deviation, unit.mean, dtype="float32", name="unit")
    return keras.Model(model.inputs, back(model.output), name=model.name)
