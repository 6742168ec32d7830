"""What the families taken from keras.applications share: what goes in, and the spec's options applied to their layers.

Layers keep the names that keras.applications gives them, so that its weights files are a start, too.
"""

from typing import Any

import keras
from keras import layers

from tasks.core.spec import Project
from tasks.models.blocks import normalization, regularizer

SMALLEST = 32
"""Pixels: these networks halve the size five times."""


def colours(image: keras.KerasTensor) -> keras.KerasTensor:
    """The image as those networks take it, float32 (H, W, 3) in [0, 255]: grey repeated, a small one enlarged."""
    height, width, channels = image.shape[1:]
    image = layers.Rescaling(1.0, dtype="float32", name="levels")(image)  # what enlarges must not round to whole levels
    if min(height, width) < SMALLEST:
        factor = SMALLEST / min(height, width)
        image = layers.Resizing(round(height * factor), round(width * factor), dtype="float32", name="enlarged")(image)
    return layers.Concatenate(dtype="float32", name="colours")([image] * 3) if channels == 1 else image


def adapted(spec: Project, model: keras.Model) -> keras.Model:
    """The model with the spec's normalization and penalties in place of the published ones; activations stay."""
    return keras.models.clone_model(model, clone_function=lambda layer: _adapt(spec, layer), call_function=_call)


def _call(layer: layers.Layer, *args: Any, mask: None = None, **kwargs: Any) -> Any:
    """Batch normalization was called with a mask, which what may stand in its place does not know."""
    return layer(*args, **kwargs)


def _adapt(spec: Project, layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, layers.BatchNormalization):
        return normalization(spec, layer.gamma.shape[0], "batch", layer.name)
    config = layer.get_config()
    penalties = {"kernel_regularizer", "depthwise_regularizer"} & config.keys()
    config |= dict.fromkeys(penalties, regularizer(spec))
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D) and spec.model.normalization == "none":
        config["use_bias"] = True
    if isinstance(layer, layers.Rescaling | layers.Normalization):
        config["dtype"] = "float32"  # rounded once, after the scaling
    if isinstance(layer, layers.Normalization):
        config["name"] = "normalization"  # or Keras would number it, and no other build would find it
    return layer.__class__.from_config(config)
