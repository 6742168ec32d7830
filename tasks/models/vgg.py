"""VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015)."""

import keras

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.blocks import classifier, convolution, flattened, inputs, joined, pixels, pooled


def build(spec: Project, layout: Layout) -> keras.Model:
    """One stage per entry of ``spec.model.filters``: ``spec.model.depth`` 3x3 convolutions and 2x2 max pooling; then
    the dense layers with dropout after each.

    VGG-13 is ``filters: [64, 128, 256, 512, 512]``, ``depth: 2``, ``units: [4096, 4096]``.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    maps = pixels(given["image"])
    for stage, filters in enumerate(spec.model.filters, 1):
        for block in range(1, spec.model.depth + 1):
            maps = convolution(spec, maps, filters, 3, "none", f"stage{stage}_block{block}")
        maps = pooled(maps, f"stage{stage}_pool")
    vector = joined(flattened(maps), given["features"])
    return keras.Model(list(given.values()), classifier(spec, vector, drop_each=True), name="vgg")
