"""The models that `benchmarks.serving` asks, packaged and registered: untrained, for speed does not depend on weights.

Runs in a process of its own: ``python -m benchmarks.serving_models`` writes to where the settings point.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from benchmarks import synthetic
from tasks.core.config import load_project
from tasks.core.layout import Layout
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.store import LocalStore
from tasks.runtime.extractors import widths
from tasks.runtime.predictor import MODEL, SIGNATURE, Signature

NAMES = ("digits", "resnet")


def specs() -> dict[str, Project]:
    """Name to spec: the shipped digits, and a ResNet of 64x64 RGB images."""
    resnet = {"name": "resnet", "model.family": "resnet", "model.filters": [16, 32, 64], "model.units": []}
    return {"digits": load_project("digits"), "resnet": synthetic.project(64, resnet)}


def picture(name: str) -> tuple[bytes, str]:
    """An image as a client of the model sends it, and its content type."""
    side, mode, form = (8, "L", "PNG") if name == "digits" else (64, "RGB", "JPEG")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (side, side) if mode == "L" else (side, side, 3), np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, form)
    return file.getvalue(), f"image/{form.lower()}"


def write_all() -> None:
    """Registers version 1 of each as champion."""
    store, registry = LocalStore(settings().home / "store"), Registry(settings().registry_url)
    for name, spec in specs().items():
        folder = store.root / name / "package" / "bench"
        folder.mkdir(parents=True)
        _write_graph(spec, folder)
        signature = Signature(
            project=name,
            build="bench",
            classes=spec.classes,
            image=spec.image,
            features=spec.features,
            top_k=spec.serving.top_k,
            max_body_kib=spec.serving.max_body_kib,
            max_pixels=spec.serving.max_pixels,
        )
        (folder / SIGNATURE).write_text(signature.model_dump_json(), encoding="utf-8")
        projects = settings().home / "projects"
        projects.mkdir(parents=True, exist_ok=True)
        (projects / f"{name}.yaml").write_text(spec.model_dump_json(), encoding="utf-8")
        version = registry.register(name, "bench", f"{name}/package/bench/manifest.json", {})
        registry.move_alias(name, "champion", version.version, expected=None, who="bench", why="bench")
    registry.close()


def _write_graph(spec: Project, folder: Path) -> None:
    import keras
    import tensorflow as tf

    from tasks.models import build_model
    from tasks.models.onnx_export import write_onnx

    assert spec.image is not None
    sizes: Mapping[str, int] = widths(spec.features, spec.image)
    keras.utils.set_random_seed(0)
    model = build_model(spec, Layout.plain(sum(sizes.values())))

    def predictions(image: tf.Tensor, *features: tf.Tensor) -> dict[str, tf.Tensor]:
        given = {"image": image, "features": tf.concat(features, axis=1)}
        return {"probabilities": tf.nn.softmax(model(given, training=False))}

    image = tf.TensorSpec((None, *spec.image.shape), tf.uint8, name="image")
    groups = [tf.TensorSpec((None, size), tf.float32, name=group) for group, size in sizes.items()]
    write_onnx(predictions, [image, *groups], folder / MODEL)


if __name__ == "__main__":
    write_all()
