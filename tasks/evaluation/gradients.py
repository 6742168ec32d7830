"""The gradient of a trained model by its pixels, which as whole numbers have none."""

import keras
import numpy as np
import tensorflow as tf

BATCH = 16
"""Images at a time: a network keeps every layer's output for the way back."""


def differentiable(model: keras.Model) -> keras.Model:
    """The same model, in single precision throughout, whose image is float32 from 0 to 255 instead of uint8."""
    described = model.to_json()
    for before in ("uint8", "mixed_float16", "mixed_bfloat16"):
        described = described.replace(f'"{before}"', '"float32"')
    copy = keras.models.model_from_json(described)
    copy.set_weights(model.get_weights())
    return copy


class PixelGradient:
    """Gradients by the pixels, the features beside them held as they are.

    Args:
        model: as `differentiable` gives it.
        loss: whether of the cross-entropy with the class that is named, or of the class's logit itself (of a
            regression the number).
    """

    def __init__(self, model: keras.Model, *, loss: bool) -> None:
        self._model, self._loss = model, loss
        self._run = tf.function(self._trace, reduce_retracing=True)

    def __call__(self, pixels: np.ndarray, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The gradient at each image.

        Args:
            pixels: float32 (N, H, W, C), 0 to 255.
            features: float32 (N, D), transformed.
            classes: int (N,); of a regression 0.

        Returns:
            float32, shaped as ``pixels``.
        """
        parts = [slice(start, start + BATCH) for start in range(0, len(pixels), BATCH)]
        given = (pixels.astype(np.float32), features.astype(np.float32), classes.astype(np.int32))
        return np.concatenate([self._run(*(tf.constant(values[part]) for values in given)).numpy() for part in parts])

    def _trace(self, pixels: tf.Tensor, features: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            found = self._model({"image": pixels, "features": features}, training=False)
            if self._loss:
                value = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, found)
            else:
                value = tf.gather(found, classes, axis=1, batch_dims=1)
        return tape.gradient(value, pixels)
