"""The function that is served as one ONNX graph, whole or in one of its smaller forms.

Transform and model are converted apart and joined: only the model is ever made smaller, so that the arithmetic which
brings raw values to their scale stays exact.
"""

import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import onnx
import tensorflow as tf
from onnx import ModelProto, compose

from tasks.core.spec import Form
from tasks.models.onnx_export import write_onnx
from tasks.packaging.inference import FEATURES, Inference
from tasks.packaging.onnx_forms import Rows, smaller

_PREFIX = "transform/"


def write_onnx_graph(inference: Inference, form: Form | None, target: Path, rows: Rows) -> None:
    """Writes the function, raw values to predictions.

    Args:
        form: what is done to the model; None: nothing.
        rows: to calibrate with: the inputs of the function's second half.
    """
    transform, plain = _halves(inference)
    model = smaller(plain, form, rows)
    transform.ir_version = model.ir_version
    whole = compose.merge_models(transform, model, io_map=[(_PREFIX + FEATURES, FEATURES)])
    onnx.checker.check_model(whole)
    onnx.save(whole, str(target))


@lru_cache(maxsize=1)
def _halves(inference: Inference) -> tuple[ModelProto, ModelProto]:
    """Transform and model, converted; kept, for most forms are made from the same."""
    return _transform_half(inference), _model_half(inference)


def _transform_half(inference: Inference) -> ModelProto:
    """Raw values of the feature groups to the transformed vector."""
    specs = {name: spec for name, spec in inference.specs.items() if name != "image"}
    graph = _converted(specs, FEATURES, inference.transformed)
    return compose.add_prefix(graph, _PREFIX, rename_inputs=False)


def _model_half(inference: Inference) -> ModelProto:
    """The transformed vector and, if there is one, ``image`` to predictions."""
    (width,) = [given.shape[-1] for given in inference.model.inputs if given.name == "features"]
    specs = {name: spec for name, spec in inference.specs.items() if name == "image"}
    specs[FEATURES] = tf.TensorSpec((None, width), tf.float32, name=FEATURES)
    return _converted(specs, inference.output, inference.predicted)


def _converted(
    specs: Mapping[str, tf.TensorSpec], output: str, function: Callable[[Mapping[str, tf.Tensor]], tf.Tensor]
) -> ModelProto:
    def named(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: function(dict(zip(specs, values, strict=True)))}

    with tempfile.TemporaryDirectory() as folder:
        write_onnx(named, list(specs.values()), Path(folder) / "half.onnx")
        return onnx.load(f"{folder}/half.onnx")
