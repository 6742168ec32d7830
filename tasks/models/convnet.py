"""A small convolutional network: LeCun et al., "Gradient-based learning applied to document recognition" (1998).

Batch normalization after each convolution: Ioffe and Szegedy, "Batch Normalization" (2015).
"""

import keras
from keras import layers

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.blocks import classifier, convolution, inputs, joined, pixels, pooled


def build(spec: Project, layout: Layout) -> keras.Model:
    """One stage per entry of ``spec.model.filters``; the flattened maps join the features before the head.

    A stage is a 3x3 convolution, normalization, the activation, and 2x2 max pooling while there are two pixels to
    pool in either direction.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    maps = pixels(given["image"])
    for stage, filters in enumerate(spec.model.filters, 1):
        maps = convolution(spec, maps, filters, 3, "batch", f"stage{stage}")
        maps = pooled(maps, f"stage{stage}_pool")
    vector = joined(layers.Flatten(name="flatten")(maps), given["features"])
    return keras.Model(list(given.values()), classifier(spec, vector), name="convnet")
