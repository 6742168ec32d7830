"""ResNet, activation before convolution: He et al., "Identity Mappings in Deep Residual Networks" (2016)."""

import keras
from keras import layers

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.blocks import activated, classifier, convolved, inputs, joined, normalized, pixels, pooled

LARGE = 128
"""From so many pixels on, an image begins as published for ImageNet: a 7x7 convolution of stride 2, and pooling."""


def build(spec: Project, layout: Layout) -> keras.Model:
    """One stage per entry of ``spec.model.filters``, of ``spec.model.depth`` residual blocks; each stage after the
    first halves the size. The mean over the last maps joins the features before the head.

    ResNet-18 is ``filters: [64, 128, 256, 512]``, ``depth: 2``, ``units: []``; ResNet-20 of the CIFAR experiments is
    ``filters: [16, 32, 64]``, ``depth: 3``.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    maps = _stem(spec, pixels(given["image"]))
    for stage, filters in enumerate(spec.model.filters, 1):
        for block in range(1, spec.model.depth + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            maps = _residual(spec, maps, filters, strides, f"stage{stage}_block{block}")
    maps = activated(spec, normalized(spec, maps, "batch", "norm"), "activation")
    vector = joined(layers.GlobalAveragePooling2D(name="mean")(maps), given["features"])
    return keras.Model(list(given.values()), classifier(spec, vector), name="resnet")


def _stem(spec: Project, maps: keras.KerasTensor) -> keras.KerasTensor:
    large = min(maps.shape[1:3]) >= LARGE
    kernel, strides = (7, 2) if large else (3, 1)
    maps = convolved(spec, maps, spec.model.filters[0], kernel, "stem", strides, bias=False)
    return pooled(maps, "stem_pool", size=3) if large else maps


def _residual(spec: Project, maps: keras.KerasTensor, filters: int, strides: int, name: str) -> keras.KerasTensor:
    """Two 3x3 convolutions, normalization and activation before each; a 1x1 convolution bridges a change of shape."""
    bare = spec.model.normalization == "none"
    inner = activated(spec, normalized(spec, maps, "batch", f"{name}_norm1"), f"{name}_activation1")
    shortcut = maps
    if strides > 1 or maps.shape[-1] != filters:
        shortcut = convolved(spec, inner, filters, 1, f"{name}_shortcut", strides, bias=False)
    inner = convolved(spec, inner, filters, 3, f"{name}_1", strides, bias=bare)
    inner = activated(spec, normalized(spec, inner, "batch", f"{name}_norm2"), f"{name}_activation2")
    inner = convolved(spec, inner, filters, 3, f"{name}_2", bias=bare)
    return layers.Add(name=f"{name}_out")([shortcut, inner])
