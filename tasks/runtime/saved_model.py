"""A package whose graph holds what ONNX cannot, strings: run by TensorFlow, which is loaded when the first one is."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tasks.runtime import packed

INFERENCE = "probabilities"
"""The saved module's function: inputs by name to probabilities, or to a regression's numbers."""


class SavedModel:
    """The graph in ``folder``, packed or not; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        with packed.unpacked(folder) as found:
            # The module is kept: it owns the variables that its function uses.
            self._module = tf.saved_model.load(str(found))

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `tasks.runtime.predictor.Graph`."""
        given = {name: tf.constant(values) for name, values in inputs.items()}
        found: np.ndarray = getattr(self._module, INFERENCE)(given).numpy()
        return found
