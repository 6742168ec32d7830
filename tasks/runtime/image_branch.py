"""The part of a packaged graph that sees the image alone: what a model has learned to see, without its head."""

from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, shape_inference
from onnx.utils import Extractor

from tasks.core.errors import BadInput
from tasks.runtime import packed
from tasks.runtime.embedding import INPUT, OUTPUT


def write_image_branch(model: Path, target: Path) -> None:
    """Cuts a graph where what comes from the image first meets anything else, and flattens what is there.

    Args:
        model: file of an ONNX graph, packed or not, with the input ``image`` among others.
        target: the graph to write: ``image`` uint8 (N, H, W, C) to ``embedding`` float32 (N, F).

    Raises:
        BadInput: the graph has no such place.
    """
    whole = shape_inference.infer_shapes(onnx.load_from_string(packed.read(model)))
    tensor = _last_of_image(whole)
    if tensor is None:
        message = "the champion's graph computes nothing from the image alone."
        raise BadInput(message, "Use a keras.applications architecture with a weights file instead.")
    branch = Extractor(whole).extract_model([INPUT], [tensor])
    branch.graph.node.append(helper.make_node("Flatten", [tensor], [OUTPUT], axis=1))
    del branch.graph.output[:]
    branch.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", None]))
    onnx.checker.check_model(branch)
    onnx.save(branch, str(target))


def _last_of_image(model: ModelProto) -> str | None:
    """The last tensor that depends on no other input than the image and is used together with one that does."""
    graph, found = model.graph, None
    rows = {value.name for value in graph.value_info if _holds_rows(value)}
    sources = {value.name: frozenset([value.name]) for value in graph.input}
    for node in graph.node:
        reached = frozenset().union(*(sources.get(name, frozenset()) for name in _used(node)))
        sources |= dict.fromkeys(node.output, reached)
        if reached > {INPUT}:
            found = next((name for name in node.input if sources.get(name) == {INPUT} and name in rows), found)
    return found


def _used(node: NodeProto) -> list[str]:
    """The node's inputs and those of the graphs inside it."""
    inner = [each for attribute in node.attribute for each in attribute.g.node]
    return [*node.input, *(name for each in inner for name in _used(each))]


def _holds_rows(value: onnx.ValueInfoProto) -> bool:
    """Whether a tensor has values per row; shapes that a graph computes as it goes have none."""
    tensor = value.type.tensor_type
    return tensor.elem_type == TensorProto.FLOAT and len(tensor.shape.dim) >= 2
