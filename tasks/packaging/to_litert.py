"""The function that is served as a LiteRT graph, whole or in one of its smaller forms.

Its converter takes transform and model as one. Of ``int8``, the transform's arithmetic is kept in floats; of the other
forms its constants get smaller, too, and the gates tell whether that matters.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tasks.core.spec import DynamicInt8, Float16, Form, Int8
from tasks.packaging.inference import Inference

Rows = Callable[[int], Mapping[str, np.ndarray]]
"""A number of training rows to the function's raw inputs for them."""

_QUANTIZED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "MAX_POOL_2D"})


def write_litert(inference: Inference, form: Form | None, target: Path, rows: Rows) -> None:
    """Writes the function, raw values to predictions, with LiteRT's own operations only.

    Args:
        form: what is done to it; None: nothing.
        rows: to calibrate with.
    """

    def named(**values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {inference.output: inference(values)}

    with _unrolled(inference.model) as recurrent:
        traced = tf.function(named, autograph=False).get_concrete_function(**inference.specs)
    if recurrent and isinstance(form, Int8):
        raise ValueError("a recurrent network hands on from step to step what 8 bits lose: take int8_dynamic")
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], inference.owner)
    if isinstance(form, Int8):
        others = _operations(converter.convert()) - _QUANTIZED
        # One converter converts once.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], inference.owner)
        target.write_bytes(_quantized(converter, others, rows(form.rows)))
        return
    if isinstance(form, Float16 | DynamicInt8):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if isinstance(form, Float16):
        converter.target_spec.supported_types = [tf.float16]
    target.write_bytes(converter.convert())


@contextmanager
def _unrolled(model: keras.Model) -> Iterator[bool]:
    """Has recurrent layers, if there are any, write out their steps: the converter knows no shapes in a loop."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    for layer in layers:
        layer.unroll = True
    try:
        yield bool(layers)
    finally:
        for layer in layers:
            layer.unroll = False


def _quantized(converter: Any, others: set[str], rows: Mapping[str, np.ndarray]) -> bytes:
    """All operations but ``others`` in 8 bits; their ranges are those on ``rows``."""

    def calibration() -> Iterator[dict[str, np.ndarray]]:
        for row in range(len(next(iter(rows.values())))):
            yield {name: values[row : row + 1] for name, values in rows.items()}

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    # The converter itself cannot be told what to leave alone.
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=sorted(others))
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=calibration, debug_options=options
    )
    found: bytes = debugger.get_nondebug_quantized_model()
    return found


def _operations(graph: bytes) -> set[str]:
    return {each["op_name"] for each in Interpreter(model_content=graph)._get_ops_details()} - {"DELEGATE"}
