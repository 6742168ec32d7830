"""A small convolutional network: LeCun et al., "Gradient-based learning applied to document recognition" (1998).

Batch normalization after each convolution: Ioffe and Szegedy, "Batch Normalization" (2015).
"""

import keras
from keras import layers

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.blocks import classifier, inputs


def build(spec: Project, layout: Layout) -> keras.Model:
    """One convolution block per entry of ``spec.model.filters``; its flattened maps join the features before the head.

    A block is a 3x3 convolution, batch normalization, the activation, and 2x2 max pooling while there are two pixels
    to pool in either direction.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    maps = layers.Rescaling(1 / 255)(given["image"])
    for filters in spec.model.filters:
        maps = layers.Conv2D(filters, 3, padding="same", use_bias=False)(maps)
        maps = layers.Activation(spec.model.activation)(layers.BatchNormalization(momentum=0.9)(maps))
        if min(maps.shape[1:3]) > 1:
            maps = layers.MaxPooling2D()(maps)
    joined = layers.Concatenate()([layers.Flatten()(maps), given["features"]])
    return keras.Model(list(given.values()), classifier(spec, joined), name="convnet")
