"""EfficientNet-B0 of keras.applications: Tan and Le, "EfficientNet: Rethinking Model Scaling" (2019)."""

import keras

# keras.applications names B0 to B7 alone; their channels in any other number need the function behind them.
from keras.src.applications.efficientnet import EfficientNet

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.applications import adapted, colours
from tasks.models.blocks import classifier, inputs, joined


def build(spec: Project, layout: Layout) -> keras.Model:
    """The published network, its channels times ``spec.model.scale``; the mean over the last maps joins the features.

    Dropout is also that of whole blocks (Huang et al., "Deep Networks with Stochastic Depth", 2016), which rises from
    none at the first to ``spec.model.dropout`` after the last.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    network = EfficientNet(
        width_coefficient=spec.model.scale,
        depth_coefficient=1.0,
        default_size=224,
        drop_connect_rate=spec.model.dropout,
        input_tensor=colours(given["image"]),
        include_top=False,
        weights=None,
        pooling="avg",
    )
    vector = joined(network.output, given["features"])
    return adapted(spec, keras.Model(list(given.values()), classifier(spec, vector), name="efficientnet"))
