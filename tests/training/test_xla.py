"""A model that XLA cannot compile is an error about the spec."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.core.errors import BadInput
from tasks.training.xla import compile_step, explained


class _OnlyInPython(keras.layers.Layer):
    def call(self, values: tf.Tensor) -> tf.Tensor:
        seen = tf.numpy_function(lambda array: array, [values], tf.float32)
        return tf.ensure_shape(seen, values.shape)


def _model(layer: keras.layers.Layer) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    compile_step(model)
    return model


def _fit(model: keras.Model) -> list[float]:
    losses: list[float] = model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=3, verbose=0).history["loss"]
    return losses


def test_max_pooling_that_repeats_is_beyond_xla_and_the_error_says_so() -> None:
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Reshape((2, 1)), keras.layers.MaxPooling1D(2), keras.layers.Flatten()]
    with pytest.raises(BadInput, match="deterministic XLA implementation"), explained("convnet"):
        _fit(_model(keras.Sequential(layers)))


@pytest.mark.slow
def test_compiled_steps_train() -> None:
    losses = _fit(_model(keras.layers.Dropout(0.1)))
    assert losses[-1] < losses[0]


def test_a_layer_that_xla_cannot_compile_is_named_as_the_familys() -> None:
    with pytest.raises(BadInput, match=r"training.xla: XLA cannot compile a vit") as caught, explained("vit"):
        _fit(_model(_OnlyInPython()))
    assert "training.xla to false" in caught.value.fix


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes"), explained("vit"):
        raise tf.errors.InvalidArgumentError(None, None, "Incompatible shapes")
