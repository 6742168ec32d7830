"""What the export stage publishes, less its checks: a Keras model behind a transform that a test writes by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from benchmarks.serving_models import signature_of
from tasks.core.spec import Project
from tasks.models.onnx_export import write_onnx
from tasks.runtime.predictor import MODEL, SIGNATURE

Transform = Callable[[tf.Tensor], tf.Tensor]
"""All raw features side by side, float32 (N, F), to the transformed ones, (N, D)."""


def write_form(
    folder: Path,
    spec: Project,
    model: keras.Model,
    transform: Transform,
    widths: dict[str, int],
    form: str = "plain",
    temperature: float = 1.0,
) -> dict[str, object]:
    """Writes ``folder``/``form``, which `tasks.runtime.predictor.Predictor.load` reads.

    Args:
        widths: feature group to its raw dimensions.

    Returns:
        The form's entry in the stage's metrics.
    """
    signature = [tf.TensorSpec((None, width), tf.float32, name=group) for group, width in widths.items()]
    if spec.image:
        signature.append(tf.TensorSpec((None, *spec.image.shape), tf.uint8, name="image"))

    def predictions(*given: tf.Tensor) -> dict[str, tf.Tensor]:
        raw, pixels = given[: len(widths)], given[len(widths) :]
        inputs = {"features": transform(tf.concat(raw, axis=1)), **({"image": pixels[0]} if pixels else {})}
        found = model(inputs, training=False)
        return {"value": found} if spec.is_regression else {"probabilities": tf.nn.softmax(found)}

    target = folder / form
    target.mkdir()
    write_onnx(predictions, signature, target / MODEL)
    asked = {"top_k": 1, "max_body_kib": 64, "max_pixels": 4096}
    described = signature_of(spec, form, form=form, temperature=temperature, **asked)
    (target / SIGNATURE).write_text(json.dumps(described.model_dump(mode="json")), encoding="utf-8")
    return {"runtime": "onnx", "bytes": (target / MODEL).stat().st_size}
