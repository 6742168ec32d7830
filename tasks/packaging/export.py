"""Transform graph, model and (of classes) softmax as one graph, so that the endpoint has no second step.

The graph takes the raw values of each feature group, float32 or string (N, F), and of images also ``image``, uint8
(N, H, W, C); it gives probabilities, float32 (N, classes), or of a regression numbers, (N, 1). As ONNX it needs no
TensorFlow; strings need TensorFlow.
"""

from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from tasks.core.spec import Project
from tasks.models.onnx_export import write_onnx
from tasks.runtime.predictor import MODEL, SAVED_MODEL
from tasks.runtime.saved_model import INFERENCE
from tasks.runtime.table_features import is_text

Specs = Mapping[str, tf.TensorSpec]


class Inference(tf.Module):
    """What is served: a call on raw inputs by name, from the saved transform graph to predictions.

    Args:
        transform: the folder that ``tft.TFTransformOutput`` reads.
        model: takes the transformed ``features`` and, if there is one, ``image``; gives logits, or a regression's
            numbers.
        classes: whether they are logits.
    """

    def __init__(self, transform: Path, model: keras.Model, classes: bool) -> None:
        super().__init__()
        self.transform = tf.saved_model.load(str(transform / "transform_fn"))
        self.model, self.classes = model, classes

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Probabilities, (N, classes), or numbers, (N, 1)."""
        raw = dict(inputs)
        given = {"image": raw.pop("image")} if "image" in raw else {}
        features = self.transform.transform_fn(raw)["features"]
        found = self.model(given | {"features": features}, training=False)
        return tf.nn.softmax(found) if self.classes else found


def inputs_of(spec: Project, widths: Mapping[str, int]) -> dict[str, tf.TensorSpec]:
    """The graph's inputs by name.

    Args:
        widths: feature group to its number of raw dimensions.
    """
    image = {"image": tf.TensorSpec((None, *spec.image.shape), tf.uint8, name="image")} if spec.image else {}
    kinds = {feature.group: tf.string if is_text(feature) else tf.float32 for feature in spec.features}
    groups = {g: tf.TensorSpec((None, widths[g]), kind, name=g) for g, kind in kinds.items()}
    return image | groups


def export(transform: Path, model: keras.Model, specs: Specs, folder: Path, *, classes: bool) -> Path:
    """Writes `Inference` into ``folder``, as ``model.onnx`` or, where strings go in, as ``saved_model/``.

    Args:
        transform: the folder that ``tft.TFTransformOutput`` reads.
        model: the trained model.
        specs: as `inputs_of` gives them.
        classes: whether the model gives logits of classes, or numbers.

    Returns:
        What was written.
    """
    inference = Inference(transform, model, classes)
    if any(spec.dtype == tf.string for spec in specs.values()):
        return _save(inference, specs, folder / SAVED_MODEL)
    return _convert(inference, specs, folder / MODEL)


def _save(inference: Inference, specs: Specs, target: Path) -> Path:
    setattr(inference, INFERENCE, tf.function(inference.__call__, input_signature=[dict(specs)], autograph=False))
    tf.saved_model.save(inference, str(target))
    return target


def _convert(inference: Inference, specs: Specs, target: Path) -> Path:
    name = "probabilities" if inference.classes else "value"

    def predictions(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: inference(dict(zip(specs, inputs, strict=True)))}

    write_onnx(predictions, list(specs.values()), target)
    return target
