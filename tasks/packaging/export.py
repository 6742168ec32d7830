"""Transform graph, model and softmax as one ONNX graph, so that the endpoint needs no TensorFlow and no second step.

The graph takes ``image`` uint8 (N, H, W, C) and one raw float32 (N, F) input per feature group; it gives
``probabilities`` float32 (N, classes).
"""

from collections.abc import Mapping
from pathlib import Path

import keras
import onnx
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper

from tasks.core.spec import Image

OPSET = 18


class Inference(tf.Module):
    """What is served: a call on raw inputs, from the saved transform graph to probabilities.

    Args:
        transform: the folder that ``tft.TFTransformOutput`` reads.
        model: takes ``image`` and the transformed ``features``, gives logits.
    """

    def __init__(self, transform: Path, model: keras.Model) -> None:
        super().__init__()
        self.transform = tf.saved_model.load(str(transform / "transform_fn"))
        self.model = model

    def __call__(self, image: tf.Tensor, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Probabilities, (N, classes)."""
        features = self.transform.transform_fn(dict(raw))["features"]
        return tf.nn.softmax(self.model({"image": image, "features": features}, training=False))


def export_onnx(transform: Path, model: keras.Model, image: Image, widths: Mapping[str, int], target: Path) -> None:
    """Writes the ONNX graph of `Inference` to ``target``.

    Args:
        transform: the folder that ``tft.TFTransformOutput`` reads.
        model: the trained model.
        widths: feature group to its number of raw dimensions.
    """
    inference = Inference(transform, model)
    signature = [
        tf.TensorSpec((None, *image.shape), tf.uint8, name="image"),
        *(tf.TensorSpec((None, width), tf.float32, name=name) for name, width in widths.items()),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def probabilities(pixels: tf.Tensor, *groups: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": inference(pixels, dict(zip(widths, groups, strict=True)))}

    graph, _ = tf2onnx.convert.from_function(probabilities, input_signature=signature, opset=OPSET)
    _fix_constants(graph, probabilities.get_concrete_function())
    onnx.checker.check_model(graph)
    onnx.save(graph, str(target))


def _fix_constants(model: onnx.ModelProto, function: tf.types.experimental.ConcreteFunction) -> None:
    """Makes the transform's fitted values constants: tf2onnx leaves tensors that a function captured as inputs."""
    captured = {inner.name: outer for outer, inner in function.graph.captures if outer.dtype != tf.resource}
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    found = [node.name for node in graph.input if node.name in captured]
    graph.initializer.extend(numpy_helper.from_array(captured[n].numpy(), n) for n in found if n in used)
    kept = [node for node in graph.input if node.name not in captured]
    del graph.input[:]
    graph.input.extend(kept)
