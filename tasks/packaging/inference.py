"""Transform graph, model and (of classes) softmax as one function, so that the endpoint has no second step."""

from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from tasks.core.spec import Project
from tasks.runtime.table_features import is_text

Specs = Mapping[str, tf.TensorSpec]
"""A graph's inputs by name: the raw values of each feature group, float32 or string (N, F), and of images also
``image``, uint8 (N, H, W, C)."""

FEATURES = "transformed"
"""What the model's own input, the transformed vector, is called between the two halves of the function."""


class Inference(tf.Module):
    """What is served: a call on raw inputs by name, from the saved transform graph to predictions.

    Args:
        transform: the folder that ``tft.TFTransformOutput`` reads.
        model: takes the transformed ``features`` and, if there is one, ``image``; gives logits, or a regression's
            numbers.
        specs: of the raw inputs, see `inputs_of`.
        classes: whether the model gives logits of classes, or numbers.
    """

    def __init__(self, transform: Path, model: keras.Model, specs: Specs, *, classes: bool) -> None:
        super().__init__()
        self.transform = tf.saved_model.load(str(transform / "transform_fn"))
        self.model, self.classes = model, classes
        self.specs = dict(specs)
        # TensorFlow's converters find no variables of Keras by themselves.
        self.weights = [variable.value for variable in model.variables]

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Probabilities, float32 (N, classes), or numbers, (N, 1)."""
        image = {name: values for name, values in inputs.items() if name == "image"}
        return self.predicted({**image, FEATURES: self.transformed(inputs)})

    def transformed(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The first half: raw values to the transformed vector, float32 (N, D)."""
        return self.transform.transform_fn({n: v for n, v in inputs.items() if n != "image"})["features"]

    def predicted(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The second half: `FEATURES` and, if there is one, ``image`` to predictions."""
        given = dict(inputs)
        found = self.model(given | {"features": given.pop(FEATURES)}, training=False)
        return tf.nn.softmax(found) if self.classes else found

    @property
    def owner(self) -> tf.Module:
        """What the function uses, and no more: a traced one is saved or converted with its owner."""
        owner = tf.Module()
        owner.transform, owner.weights = self.transform, self.weights
        return owner

    @property
    def takes_text(self) -> bool:
        """Whether strings go in, which neither ONNX nor LiteRT can take."""
        return any(spec.dtype == tf.string for spec in self.specs.values())

    @property
    def output(self) -> str:
        """The prediction's name."""
        return "probabilities" if self.classes else "value"


def inputs_of(spec: Project, widths: Mapping[str, int]) -> dict[str, tf.TensorSpec]:
    """The function's raw inputs.

    Args:
        widths: feature group to its number of raw dimensions.
    """
    image = {"image": tf.TensorSpec((None, *spec.image.shape), tf.uint8, name="image")} if spec.image else {}
    kinds = {feature.group: tf.string if is_text(feature) else tf.float32 for feature in spec.features}
    groups = {g: tf.TensorSpec((None, widths[g]), kind, name=g) for g, kind in kinds.items()}
    return image | groups
