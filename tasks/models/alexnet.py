"""AlexNet: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks" (2012)."""

import keras

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.blocks import classifier, convolution, flattened, inputs, joined, pixels, pooled

STAGES = ((96, 0), (256, 5), (384, 3), (384, 3), (256, 3))
"""Channels and kernel of each convolution; the first kernel depends on the image."""

POOLED = (1, 2, 5)
"""The stages after which maps are pooled."""


def build(spec: Project, layout: Layout) -> keras.Model:
    """Five convolutions, their channels times ``spec.model.scale``, three of them followed by overlapping 3x3 pooling,
    then the dense layers with dropout after each.

    Published for 224 pixels, where the first convolution is 11x11 with stride 4; smaller images are stepped over in
    smaller strides, down to 5x5 with stride 1. The local response normalization of the paper is left out: it does not
    help (Simonyan and Zisserman, 2015).

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    maps = pixels(given["image"])
    strides = max(1, min(4, min(maps.shape[1:3]) // 56))
    for stage, (channels, kernel) in enumerate(STAGES, 1):
        filters = max(1, round(channels * spec.model.scale))
        first = {"kernel": 3 + 2 * strides, "strides": strides} if stage == 1 else {"kernel": kernel}
        maps = convolution(spec, maps, filters, **first, default="none", name=f"stage{stage}")
        if stage in POOLED:
            maps = pooled(maps, f"stage{stage}_pool", size=3)
    vector = joined(flattened(maps), given["features"])
    return keras.Model(list(given.values()), classifier(spec, vector, drop_each=True), name="alexnet")
