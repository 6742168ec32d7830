"""MobileNetV3 (small) of keras.applications: Howard et al., "Searching for MobileNetV3" (2019)."""

import keras

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.applications import adapted, colours
from tasks.models.blocks import classifier, inputs, joined


def build(spec: Project, layout: Layout) -> keras.Model:
    """The published network, its channels times ``spec.model.scale``; the mean over the last maps joins the features.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    network = keras.applications.MobileNetV3Small(
        input_tensor=colours(given["image"]),
        alpha=spec.model.scale,
        include_top=False,
        weights=None,
        pooling="avg",
    )
    vector = joined(network.output, given["features"])
    return adapted(spec, keras.Model(list(given.values()), classifier(spec, vector), name="mobilenet"))
