"""A multilayer perceptron over the features and, if there is one, the flattened image."""

import keras
from keras import layers

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.blocks import classifier, inputs, joined, pixels
from tasks.models.tokens import plain


def build(spec: Project, layout: Layout) -> keras.Model:
    """Dense layers of ``spec.model.units`` over the pixels, scaled to [0, 1], and the features.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    vector = plain(spec, layout, given["features"])
    if "image" in given:
        vector = joined(layers.Flatten(name="flatten")(pixels(given["image"])), vector)
    return keras.Model(list(given.values()), classifier(spec, vector), name="mlp")
