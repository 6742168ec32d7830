"""Training steps compiled with XLA, also where several ranks train.

XLA cannot compile Horovod's operations, so what it gets is the work of the model, forwards and backwards; the update
stays outside. It is the same for one rank, so that a trial computes what a rank computes. Max pooling is one of the
things that XLA does not compile where results have to repeat, as they do here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tasks.core.errors import BadInput

_REFUSALS = ("XLA", "not compilable", "uncompilable")
"""Found in what TensorFlow says of a model that XLA cannot compile."""

_PREAMBLE = ("Graph execution error", "Detected at node", "<stack traces")


def compile_step(model: keras.Model) -> None:
    """Has ``fit`` train this instance, compiled by Keras without ``jit_compile``, in steps that XLA compiles."""

    def forth_and_back(x: Any, y: Any, weights: Any) -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x, y, outputs, weights, training=True)
            scaled = model.optimizer.scale_loss(loss)
        found = tape.gradient(scaled, model.trainable_weights)
        return outputs, loss, [None if grad is None else tf.convert_to_tensor(grad) for grad in found]

    def train_step(data: Any) -> dict[str, Any]:
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        # Made here, since Keras traces this anew when other layers become trainable.
        outputs, loss, grads = tf.function(forth_and_back, jit_compile=True)(x, y, weights)
        average = next(metric for metric in model.metrics if metric.name == "loss")
        average.update_state(loss, sample_weight=tf.shape(y)[0])
        model.optimizer.apply_gradients(zip(grads, model.trainable_weights, strict=True))
        return model.compute_metrics(x, y, outputs, weights)

    model.train_step = train_step


@contextmanager
def explained(family: str) -> Iterator[None]:
    """Turns what TensorFlow says within of a model that XLA cannot compile into an error about the spec.

    Raises:
        BadInput: it is one of those.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        if not any(word in error.message for word in _REFUSALS):
            raise
        message = f"training.xla: XLA cannot compile a {family} of this shape: {_reason(error.message)}"
        raise BadInput(message, "Set training.xla to false, or choose another model.family.") from error


def _reason(message: str) -> str:
    """The line of TensorFlow's many that tells it."""
    return next(line for line in message.splitlines() if line and not line.startswith(_PREAMBLE))
