"""Tiny projects with tiny packaged models: brighter images, older rows and sunnier words are more likely ``bright``;
the price of an older row is higher.

Those of images and of numbers are ONNX, written without TensorFlow; the one of words is a SavedModel.
"""

import io
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from benchmarks.serving_models import signature_of
from tasks.core.registry import Registry, Version
from tasks.core.spec import Online, Project
from tasks.core.store import LocalStore
from tasks.runtime.baseline import BASELINE, summarize, watched
from tasks.runtime.extractors import names
from tasks.runtime.predictor import EMBEDDING, MODEL, SAVED_MODEL, SIGNATURE, Inputs, Predictor

CLASSES = ("dark", "bright")

COMMON = {
    "start": "2026-01-01",
    "classes": list(CLASSES),
    "gates": [{"metric": "accuracy", "min": 0.5}],
    "monitoring": {"psi": 0.2, "min_requests": 50},
    "serving": {"top_k": 2, "max_body_kib": 64, "max_pixels": 4096},
}
IMAGES = {
    "source": {"uri": "landing/tiny"},
    "image": {"height": 8, "width": 8, "channels": 1},
    "features": [{"kind": "image_stats"}],
}
NUMBERS = {
    "task": "tabular_classification",
    "source": {
        "uri": "landing/people",
        "format": "table",
        "columns": [{"name": "age", "type": "number"}, {"name": "member", "type": "boolean", "nullable": True}],
    },
    "features": [{"kind": "numeric", "columns": ["age", "member"]}],
    "model": {"family": "mlp"},
}
WORDS = {
    "task": "text_classification",
    "source": {
        "uri": "landing/weather",
        "format": "table",
        "columns": [{"name": "sky", "type": "category"}, {"name": "words", "type": "text"}],
    },
    "features": [{"kind": "categorical", "columns": ["sky"]}, {"kind": "text", "column": "words"}],
    "model": {"family": "mlp"},
}
PRICES = {
    **NUMBERS,
    "task": "tabular_regression",
    "classes": [],
    "gates": [{"metric": "r2", "min": 0.5}],
}
KINDS = {"tiny": IMAGES, "idle": IMAGES, "people": NUMBERS, "prices": PRICES, "weather": WORDS}
"""Project to what sets it apart."""


def project(name: str = "tiny") -> Project:
    """The project that the package belongs to."""
    return Project.model_validate({"name": name, **COMMON, **KINDS[name]})


def write_project(folder: Path, name: str = "tiny") -> None:
    """Its YAML file (JSON is YAML)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(json.dumps({"name": name, **COMMON, **KINDS[name]}), encoding="utf-8")


def png(level: int = 0, seed: int | None = None, size: tuple[int, int] = (8, 8)) -> bytes:
    """A grey PNG of one level, or of noise around it."""
    pixels = np.full(size[::-1], level, np.uint8)
    if seed is not None:
        noise = np.random.default_rng(seed).integers(-40, 41, pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_package(
    folder: Path,
    build: str = "tiny-build",
    steepness: float = 8.0,
    name: str = "tiny",
    online: Online | None = None,
    temperature: float = 1.0,
) -> None:
    """What the package stage writes, less the Bento; ``steepness`` tells two versions apart by their probabilities."""
    spec = project(name)
    folder.mkdir(parents=True, exist_ok=True)
    if name == "weather":
        _write_saved_model(folder / SAVED_MODEL)
    else:
        make = _images_graph if spec.image else _prices_graph if spec.is_regression else _numbers_graph
        onnx.save(make(steepness), str(folder / MODEL))
    signature = signature_of(spec, build, online=online or Online(), temperature=temperature)
    (folder / SIGNATURE).write_text(signature.model_dump_json(), encoding="utf-8")
    values = watched(spec.features, _training_rows(Predictor.load(folder)).features)
    baseline = summarize(values, names(spec.features, spec.image))
    (folder / BASELINE).write_text(baseline.model_dump_json(), encoding="utf-8")


def register(
    registry: Registry,
    store: LocalStore,
    key: str,
    steepness: float = 8.0,
    damaged: bool = False,
    name: str = "tiny",
    online: Online | None = None,
) -> Version:
    """A version of a tiny project whose package stands in the store."""
    folder = store.root / name / "package" / key
    write_package(folder, key, steepness, name, online)
    if damaged:
        (folder / MODEL).write_bytes(b"not a graph")
    return registry.register(
        name,
        key,
        f"{name}/package/{key}/manifest.json",
        {"metrics": {"candidate": {"accuracy": 0.9}}, "candidate": key},
    )


def people(count: int, seed: int = 0, age: float = 50) -> list[dict[str, object]]:
    """Rows of the project ``people``; every tenth is no member that one knows of."""
    random = np.random.default_rng(seed)
    ages, members = random.normal(age, 10, count).round(2).tolist(), random.random(count) < 0.5
    return [{"age": a, "member": None if n % 10 == 0 else bool(members[n])} for n, a in enumerate(ages)]


def skies(count: int, seed: int = 0, sunny: float = 0.5) -> list[dict[str, object]]:
    """Rows of the project ``weather``."""
    random = np.random.default_rng(seed)
    return [{"sky": "sun" if random.random() < sunny else "rain", "words": f"day {n}"} for n in range(count)]


def write_embedding_package(folder: Path) -> None:
    """A package whose only feature is an embedding, of a network that gives the mean pixel: above 128 is bright."""
    write_package(folder)
    feature = {"kind": "cnn_embedding", "name": "seen", "architecture": "champion"}
    described = json.loads((folder / SIGNATURE).read_text(encoding="utf-8")) | {"features": [feature]}
    (folder / SIGNATURE).write_text(json.dumps(described), encoding="utf-8")
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 1])
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Reshape", ["means", "shape"], ["embedding"]),
    ]
    constants = {"axes": np.array([1, 2, 3], np.int64), "shape": np.array([-1, 1], np.int64)}
    network = _model(nodes, [image], constants, ("embedding", 1))
    onnx.save(network, str(folder / EMBEDDING.format(group="seen")))
    seen = helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["N", 1])
    nodes = [
        helper.make_node("Gemm", ["seen", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants = {"weights": np.array([[-1, 1]], np.float32), "bias": np.array([128, -128], np.float32)}
    onnx.save(_model(nodes, [image, seen], constants), str(folder / MODEL))


def _training_rows(predictor: Predictor) -> Inputs:
    if predictor.signature.image:
        return Inputs.join([predictor.prepare(png(128, seed)) for seed in range(500)])
    return predictor.prepare_rows(
        {"people": people, "prices": people, "weather": skies}[predictor.signature.project](500)
    )


def _write_saved_model(folder: Path) -> None:
    """0.9 for ``bright`` if the sky is ``sun``, else 0.1."""
    import tensorflow as tf

    module, groups = tf.Module(), ("categorical", "text")

    def probabilities(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        sunny = tf.where(inputs["categorical"] == "sun", 0.9, 0.1)
        return tf.concat([1 - sunny, sunny], axis=1)

    signature = [{group: tf.TensorSpec((None, 1), tf.string, name=group) for group in groups}]
    module.probabilities = tf.function(probabilities, input_signature=signature)
    tf.saved_model.save(module, str(folder))


def _numbers_graph(steepness: float) -> onnx.ModelProto:
    """softmax(steepness * (-x, x) / 2) with x = age / 50 - 1, a missing value as 0."""
    weights = np.array([[-steepness / 100, steepness / 100], [0, 0]], np.float32)
    constants = {
        "weights": weights,
        "bias": np.array([steepness / 2, -steepness / 2], np.float32),
        "zero": np.zeros((), np.float32),
    }
    nodes = [
        helper.make_node("IsNaN", ["numeric"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "numeric"], ["known"]),
        helper.make_node("Gemm", ["known", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    return _model(nodes, [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["N", 2])], constants)


def _prices_graph(steepness: float) -> onnx.ModelProto:
    """steepness times the age, a missing value as 0."""
    constants = {"weights": np.array([[steepness], [0]], np.float32), "zero": np.zeros((), np.float32)}
    nodes = [
        helper.make_node("IsNaN", ["numeric"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "numeric"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["value"]),
    ]
    numeric = helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["N", 2])
    return _model(nodes, [numeric], constants, ("value", 1))


def _images_graph(steepness: float) -> onnx.ModelProto:
    """softmax(steepness * (-brightness, brightness) / 2 around the middle), brightness from ``image_stats``."""
    weights = np.zeros((5, 2), np.float32)
    weights[0] = [-steepness, steepness]
    constants = {
        "weights": weights,
        "bias": np.array([steepness / 2, -steepness / 2], np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "nothing": np.zeros((1, 1), np.float32),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Mul", ["column", "nothing"], ["unused"]),
        helper.make_node("Gemm", ["image_stats", "weights", "bias"], ["logits"]),
        helper.make_node("Add", ["logits", "unused"], ["both"]),
        helper.make_node("Softmax", ["both"], ["probabilities"]),
    ]
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 1]),
        helper.make_tensor_value_info("image_stats", TensorProto.FLOAT, ["N", 5]),
    ]
    return _model(nodes, inputs, constants)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray],
    output: tuple[str, int] = ("probabilities", 2),
) -> onnx.ModelProto:
    outputs = [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, ["N", output[1]])]
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
