"""The models that `benchmarks.serving` asks, packaged and registered: untrained, for speed does not depend on weights.

Runs in a process of its own: ``python -m benchmarks.serving_models`` writes to where the settings point.
"""

import io
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image as Pillow

from benchmarks import synthetic
from feature_repo.names import view_name
from tasks.core.config import load_project
from tasks.core.layout import Layout
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.store import LocalStore
from tasks.runtime.extractors import widths
from tasks.runtime.predictor import MODEL, SIGNATURE, Signature

T = TypeVar("T")

NAMES = ("digits", "resnet")


def specs() -> dict[str, Project]:
    """Name to spec: the shipped digits, and a ResNet of 64x64 RGB images."""
    resnet = {"name": "resnet", "model.family": "resnet", "model.filters": [16, 32, 64], "model.units": []}
    return {"digits": load_project("digits"), "resnet": synthetic.project(64, resnet)}


def picture(name: str, seed: int = 0) -> tuple[bytes, str]:
    """An image as a client of the model sends it, and its content type."""
    side, mode, form = (64, "RGB", "JPEG") if name == "resnet" else (8, "L", "PNG")
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (side, side) if mode == "L" else (side, side, 3), np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, form)
    return file.getvalue(), f"image/{form.lower()}"


def in_a_process(work: Callable[[], T]) -> T:
    """What ``work``, a function of a module, gives; TensorFlow comes and goes with the process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work).result()


def write_all() -> None:
    """Registers version 1 of each as champion."""
    registry = Registry(settings().registry_url)
    for name, spec in specs().items():
        write_project(spec, settings().home / "projects")
        version = write_version(spec, "bench")
        registry.move_alias(name, "champion", version, expected=None, who="bench", why="bench")
    registry.close()


def write_project(spec: Project, folder: Path) -> None:
    """Its YAML file (JSON is YAML)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{spec.name}.yaml").write_text(spec.model_dump_json(), encoding="utf-8")


def write_version(spec: Project, build: str) -> int:
    """Packages the model of the spec under the name ``build`` and registers it; the version's number."""
    store, registry = LocalStore(Path(settings().store_uri)), Registry(settings().registry_url)
    folder = store.root / spec.name / "package" / build
    folder.mkdir(parents=True)
    _write_graph(spec, folder)
    signature = signature_of(spec, build)
    (folder / SIGNATURE).write_text(signature.model_dump_json(), encoding="utf-8")
    manifest = folder / "manifest.json"
    manifest.write_text("{}", encoding="utf-8")
    version = registry.register(spec.name, build, manifest.relative_to(store.root).as_posix(), {})
    registry.close()
    return version.version


def signature_of(spec: Project, build: str, **more: Any) -> Signature:
    """What a package of the spec says of itself; ``more`` are further fields, or others instead."""
    fields = {
        "project": spec.name,
        "build": build,
        "task": "regression" if spec.is_regression else "classification",
        "classes": spec.classes,
        "image": spec.image,
        "columns": spec.source.columns,
        "features": spec.features,
        "top_k": spec.serving.top_k,
        "max_body_kib": spec.serving.max_body_kib,
        "max_pixels": spec.serving.max_pixels,
        "view": view_name(spec),
    }
    return Signature.model_validate({**fields, **more})


def _write_graph(spec: Project, folder: Path) -> None:
    import keras
    import tensorflow as tf

    from tasks.models import build_model
    from tasks.models.onnx_export import write_onnx

    sizes: Mapping[str, int] = widths(spec.features, spec.image)
    keras.utils.set_random_seed(0)
    model = build_model(spec, Layout.plain(sum(sizes.values())))
    images = [tf.TensorSpec((None, *spec.image.shape), tf.uint8, name="image")] if spec.image else []
    groups = [tf.TensorSpec((None, size), tf.float32, name=group) for group, size in sizes.items()]

    def predictions(*given: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {"features": tf.concat(given[len(images) :], axis=1)}
        found = model({**features, "image": given[0]} if images else features, training=False)
        return {"value": found} if spec.is_regression else {"probabilities": tf.nn.softmax(found)}

    write_onnx(predictions, [*images, *groups], folder / MODEL)


if __name__ == "__main__":
    write_all()
