"""The function that is served as a SavedModel, whole or with its weights in fewer bits.

Strings go in, so it is all that a project of texts has. TensorFlow has no kernels that compute in 8 bits on a
processor: what gets smaller are the model's weights, which the graph brings back to float32. Transform and vocabularies
are as before.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tasks.core.spec import DynamicInt8, Float16, Form, Int8
from tasks.packaging.inference import Inference
from tasks.packaging.weights import in_half, in_steps, worth_it
from tasks.runtime.saved_model import INFERENCE

Served = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]
"""Raw inputs by name to predictions."""


def write_saved_model(inference: Inference, form: Form | None, target: Path) -> None:
    """Writes the function for `tasks.runtime.saved_model`.

    Args:
        form: what is done to its weights; None: nothing.

    Raises:
        ValueError: a SavedModel has no such form.
    """
    if isinstance(form, Int8):
        raise ValueError("TensorFlow has no kernels that compute in 8 bits on a processor: take int8_dynamic")
    served = inference.owner
    function: Served = inference.__call__
    if isinstance(form, Float16 | DynamicInt8):
        function, served.weights = _in_fewer_bits(inference, form), []
    setattr(served, INFERENCE, tf.function(function, input_signature=[inference.specs], autograph=False))
    tf.saved_model.save(served, str(target))


def _in_fewer_bits(inference: Inference, form: Float16 | DynamicInt8) -> Served:
    """The function with its weights as constants of the graph, not as variables beside it."""
    # A graph that is being traced cannot look at them any more.
    weights = [(variable, keras.ops.convert_to_numpy(variable)) for variable in inference.model.variables]

    def served(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with keras.StatelessScope([(variable, _restored(values, form)) for variable, values in weights]):
            return inference(inputs)

    return served


def _restored(values: np.ndarray, form: Float16 | DynamicInt8) -> tf.Tensor:
    if not worth_it(values):
        return tf.constant(values)
    if isinstance(form, Float16):
        return tf.cast(tf.constant(in_half(values)), tf.float32)
    multiples, steps = in_steps(values)
    return tf.cast(tf.constant(multiples), tf.float32) * tf.constant(steps)
