"""What the families share: their inputs, and the dense layers with the head."""

import keras
from keras import layers

from tasks.core.layout import Layout
from tasks.core.spec import Project


def inputs(spec: Project, layout: Layout) -> dict[str, keras.KerasTensor]:
    """The inputs by name: ``image`` uint8 (H, W, C), as decoded, if rows are images, and ``features`` float32 (D,),
    already transformed."""
    image = {"image": keras.Input(spec.image.shape, dtype="uint8", name="image")} if spec.image else {}
    return image | {"features": keras.Input((layout.width,), dtype="float32", name="features")}


def classifier(spec: Project, vector: keras.KerasTensor) -> keras.KerasTensor:
    """Dense layers of ``spec.model.units``, dropout, and the linear head: a vector to ``spec.outputs`` numbers."""
    for width in spec.model.units:
        vector = layers.Dense(width, activation=spec.model.activation)(vector)
    if spec.model.dropout:
        vector = layers.Dropout(spec.model.dropout)(vector)
    return layers.Dense(spec.outputs, name="logits")(vector)
