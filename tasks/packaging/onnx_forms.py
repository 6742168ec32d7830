"""Smaller forms of a model's ONNX graph, by ONNX Runtime's own quantizer.

Quantized are multiplications by weights and what passes their results on. Sums and normalizations stay in floats: a
variance of 1/255 of its range is 0.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.preprocess import quant_pre_process

from tasks.core.spec import DynamicInt8, Float16, Form, Int8
from tasks.packaging.weights import in_half, worth_it

Rows = Callable[[int], Mapping[str, np.ndarray]]
"""A number of training rows to the graph's inputs for them."""

_MULTIPLICATIONS = ("Conv", "MatMul", "Gemm")
_PASSED_ON = ("Relu", "MaxPool")
_BATCH = 32


def smaller(model: ModelProto, form: Form | None, rows: Rows) -> ModelProto:
    """The graph in this form; itself, where the form is none of the graph but of what was trained.

    Args:
        rows: to calibrate with.
    """
    if isinstance(form, Float16):
        return half(model)
    if isinstance(form, DynamicInt8 | Int8):
        return _quantized(model, form, rows)
    return model


def half(model: ModelProto) -> ModelProto:
    """Weights as float16, and a cast behind each: few kernels of a CPU compute in it.

    ONNX Runtime casts once, as it loads the graph; what it computes, and how fast, is as before.
    """
    found = ModelProto()
    found.CopyFrom(model)
    casts = []
    for weight in found.graph.initializer:
        values = numpy_helper.to_array(weight)
        if not worth_it(values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(in_half(values), f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], name=f"{name}/cast", to=TensorProto.FLOAT))
    nodes = [*casts, *found.graph.node]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return found


def _quantized(model: ModelProto, form: DynamicInt8 | Int8, rows: Rows) -> ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, target = (str(Path(folder) / f"{name}.onnx") for name in ("whole", "prepared", "quantized"))
        onnx.save(model, whole)
        # Folds normalization into convolutions, so that it costs nothing in either precision.
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        exact = _stacked(onnx.load(prepared))
        operations: dict[str, Any] = {"per_channel": True, "nodes_to_exclude": exact}
        if isinstance(form, DynamicInt8):
            operations["op_types_to_quantize"] = list(_MULTIPLICATIONS)
            # Unsigned times unsigned: the one pair that every x86 processor adds up without overflow.
            quantize_dynamic(prepared, target, weight_type=QuantType.QUInt8, **operations)
        else:
            operations["op_types_to_quantize"] = [*_MULTIPLICATIONS, *_PASSED_ON]
            # Seven bits of a weight, for the same reason.
            operations |= {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "reduce_range": True}
            quantize_static(prepared, target, _Calibration(rows(form.rows)), QuantFormat.QDQ, **operations)
        return onnx.load(target)


def _stacked(model: ModelProto) -> list[str]:
    """Multiplications by a weight that is several matrices: ONNX Runtime has no scales for each of their columns."""
    stacks = {weight.name for weight in model.graph.initializer if len(weight.dims) > 2}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and stacks & set(node.input)]


class _Calibration(CalibrationDataReader):
    """Training rows, batch by batch."""

    def __init__(self, rows: Mapping[str, np.ndarray]) -> None:
        self._batches = self._cut(rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch's inputs by name; None: there are no more."""
        return next(self._batches, None)

    @staticmethod
    def _cut(rows: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(next(iter(rows.values()))), _BATCH):
            yield {name: values[start : start + _BATCH] for name, values in rows.items()}
