"""Which pixels a trained network's answer comes from.

Integrated gradients: Sundararajan et al., "Axiomatic attribution for deep networks" (2017). Grad-CAM: Selvaraju et al.,
"Grad-CAM: Visual explanations from deep networks via gradient-based localization" (2017).
"""

import cv2
import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tasks.evaluation.gradients import BATCH, PixelGradient, differentiable

STEPS = 64
"""Of the path from black to the image."""

_POOLING = ("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "ZeroPadding2D")


def integrated_gradients(
    model: keras.Model, pixels: np.ndarray, features: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """What each pixel adds to an output, on the way from a black image to this one, beside the same features.

    They add up to the difference of the two outputs (completeness).

    Args:
        pixels: uint8 (N, H, W, C).
        features: float32 (N, D), transformed.
        targets: int (N,): the class whose logit is attributed; of a regression 0.

    Returns:
        float64, shaped as ``pixels``, in the unit of the logits, or of the labels.
    """
    gradient = PixelGradient(differentiable(model), loss=False)
    # Middles of equal steps: the error falls with the square of their number.
    shares = ((np.arange(STEPS) + 0.5) / STEPS).reshape(-1, 1, 1, 1)
    found = np.empty(pixels.shape)
    for number, image in enumerate(pixels):
        path = (shares * image).astype(np.float32)
        beside, target = np.repeat(features[number][None], STEPS, axis=0), np.full(STEPS, targets[number])
        found[number] = image * gradient(path, beside, target).astype(np.float64).mean(axis=0)
    return found


def grad_cam(model: keras.Model, pixels: np.ndarray, features: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """Where the last convolution's maps speak for an output; of an ensemble the mean over its members.

    Args:
        pixels: uint8 (N, H, W, C).
        features: float32 (N, D), transformed.
        targets: int (N,): the class; of a regression 0.

    Returns:
        float64 (N, H, W), 0 to 1, all 0 where nothing speaks for it; None for a network without convolutions.
    """
    members = [layer for layer in model.layers if isinstance(layer, keras.Model)] or [model]
    found = [_maps(member, pixels, features, targets) for member in members if _last_maps(member) is not None]
    if not found:
        return None
    return _scaled(np.mean(found, axis=0))


def _last_maps(model: keras.Model) -> layers.Layer | None:
    """The layer whose maps are the last with a place for each value, before they are pooled."""
    convolutions = [number for number, layer in enumerate(model.layers) if _is_convolution(layer)]
    if not convolutions:
        return None
    placed = [
        layer
        for layer in model.layers[convolutions[0] :]
        if len(getattr(layer.output, "shape", ())) == 4
        and min(layer.output.shape[1:3]) > 1
        and type(layer).__name__ not in _POOLING
    ]
    return placed[-1] if placed else None


def _is_convolution(layer: layers.Layer) -> bool:
    return isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D)


def _maps(model: keras.Model, pixels: np.ndarray, features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights are the gradients' means over a map; what is negative speaks for another class and is left out."""
    last = _last_maps(model)
    assert last is not None
    both = keras.Model(model.inputs, [last.output, model.output])
    height, width = pixels.shape[1:3]
    found = []
    for start in range(0, len(pixels), BATCH):
        part = slice(start, start + BATCH)
        with tf.GradientTape() as tape:
            maps, outputs = both({"image": pixels[part], "features": features[part]}, training=False)
            tape.watch(maps)
            value = tf.gather(outputs, targets[part].astype(np.int32), axis=1, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(value, maps), axis=(1, 2), keepdims=True)
        sums = tf.nn.relu(tf.reduce_sum(tf.cast(weights * maps, tf.float32), axis=3)).numpy()
        found += [cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in sums]
    return _scaled(np.stack(found).astype(np.float64))


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Each to a maximum of 1: the members of an ensemble have equal voices."""
    return maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), np.finfo(float).tiny)
