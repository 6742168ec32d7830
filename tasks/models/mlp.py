"""A multilayer perceptron over the flattened image and the features."""

import keras
from keras import layers

from tasks.core.spec import Project
from tasks.models.blocks import classifier, inputs


def build(spec: Project, classes: int, features: int) -> keras.Model:
    """Dense layers of ``spec.model.units`` over the pixels, scaled to [0, 1], and the features.

    Args:
        classes: width of the logits.
        features: width D of the transformed feature vector.
    """
    image, dense = inputs(spec, features)
    pixels = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    return keras.Model([image, dense], classifier(spec, layers.Concatenate()([pixels, dense]), classes), name="mlp")
