"""A tiny project with a tiny packaged model, written without TensorFlow: brighter images are more likely ``bright``."""

import io
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tasks.core.registry import Registry, Version
from tasks.core.spec import Project
from tasks.core.store import LocalStore
from tasks.runtime.baseline import BASELINE, summarize
from tasks.runtime.extractors import names
from tasks.runtime.predictor import MODEL, SIGNATURE, Predictor, Signature

CLASSES = ("dark", "bright")

SPEC = {
    "start": "2026-01-01",
    "classes": list(CLASSES),
    "source": {"uri": "landing/tiny"},
    "image": {"height": 8, "width": 8, "channels": 1},
    "features": [{"kind": "image_stats"}],
    "gates": [{"metric": "accuracy", "min": 0.5}],
    "monitoring": {"psi": 0.2, "min_requests": 50},
    "serving": {"top_k": 2, "max_body_kib": 64, "max_pixels": 4096},
}


def project(name: str = "tiny") -> Project:
    """The project that the package belongs to."""
    return Project.model_validate({"name": name, **SPEC})


def write_project(folder: Path, name: str = "tiny") -> None:
    """Its YAML file (JSON is YAML)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(json.dumps({"name": name, **SPEC}), encoding="utf-8")


def png(level: int = 0, seed: int | None = None, size: tuple[int, int] = (8, 8)) -> bytes:
    """A grey PNG of one level, or of noise around it."""
    pixels = np.full(size[::-1], level, np.uint8)
    if seed is not None:
        noise = np.random.default_rng(seed).integers(-40, 41, pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_package(folder: Path, build: str = "tiny-build", steepness: float = 8.0) -> None:
    """What the package stage writes, less the Bento; ``steepness`` tells two versions apart by their probabilities."""
    spec = project()
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(steepness), str(folder / MODEL))
    signature = Signature(
        project=spec.name,
        build=build,
        classes=spec.classes,
        image=spec.image,
        features=spec.features,
        top_k=spec.serving.top_k,
        max_body_kib=spec.serving.max_body_kib,
        max_pixels=spec.serving.max_pixels,
    )
    (folder / SIGNATURE).write_text(signature.model_dump_json(), encoding="utf-8")
    predictor = Predictor.load(folder)
    stats = np.stack([predictor.prepare(png(128, seed)).features["image_stats"] for seed in range(500)])
    baseline = summarize({"image_stats": stats}, names(spec.features, spec.image))
    (folder / BASELINE).write_text(baseline.model_dump_json(), encoding="utf-8")


def register(registry: Registry, store: LocalStore, key: str, steepness: float = 8.0, damaged: bool = False) -> Version:
    """A version of the tiny project whose package stands in the store."""
    folder = store.root / "tiny" / "package" / key
    write_package(folder, key, steepness)
    if damaged:
        (folder / MODEL).write_bytes(b"not a graph")
    return registry.register("tiny", key, f"tiny/package/{key}/manifest.json", {"metrics": {"accuracy": 0.9}})


def _graph(steepness: float) -> onnx.ModelProto:
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
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 1]),
            helper.make_tensor_value_info("image_stats", TensorProto.FLOAT, ["N", 5]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
