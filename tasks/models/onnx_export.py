"""A TensorFlow function as an ONNX file."""

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper
from tf2onnx import optimizer
from tf2onnx.graph import Node
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

OPSET = 18


class _Transposes(TransposeOptimizer):
    """tf2onnx's own fails at a scalar added to a convolution, as ``hard_silu`` does, and then leaves every transpose:
    at 224 pixels MobileNet took 67 ms with them, 41 without."""

    def _add_handler(self, trans: Node, node: Node) -> bool:
        if node.inputs[1].is_const() and node.inputs[1].get_tensor_value(as_list=False).ndim == 0:
            return bool(self._handle_node_having_branches(trans, node))
        return bool(super()._add_handler(trans, node))


optimizer._optimizers["optimize_transpose"] = _Transposes


def write_onnx(function: Callable, signature: Sequence[tf.TensorSpec], target: Path) -> None:
    """Writes the graph of ``function``, variables and fitted values inside.

    Args:
        function: of tensors as ``signature`` describes them; gives a dictionary of tensors by the outputs' names.
        signature: named; the names become those of the graph's inputs.
    """
    traced = tf.function(function, input_signature=signature, autograph=False)
    graph, _ = tf2onnx.convert.from_function(traced, input_signature=signature, opset=OPSET)
    _fix_constants(graph, traced.get_concrete_function())
    onnx.checker.check_model(graph)
    onnx.save(graph, str(target))


def _fix_constants(model: onnx.ModelProto, function: tf.types.experimental.ConcreteFunction) -> None:
    """Makes fitted values constants: tf2onnx leaves tensors that a function captured as inputs."""
    captured = {inner.name: outer for outer, inner in function.graph.captures if outer.dtype != tf.resource}
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    found = [node.name for node in graph.input if node.name in captured]
    graph.initializer.extend(numpy_helper.from_array(captured[n].numpy(), n) for n in found if n in used)
    kept = [node for node in graph.input if node.name not in captured]
    del graph.input[:]
    graph.input.extend(kept)
