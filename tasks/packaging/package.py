"""The package stage: what training produced, as one folder that predicts alone and provably the same.

The artifact holds ``model.onnx``, ``signature.json``, ``baseline.json`` and the Bento around them. Before it is
published, training rows go through it from their original bytes; a package that answers otherwise than the trained
model is refused.
"""

import json
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from tasks.core.artifacts import digest_file
from tasks.core.errors import Refused
from tasks.core.settings import ROOT
from tasks.core.shards import Split, read_split
from tasks.core.stages import Context, Outcome, stage
from tasks.packaging.bento import build_bento
from tasks.packaging.export import export_onnx
from tasks.runtime.baseline import BASELINE, summarize
from tasks.runtime.extractors import names
from tasks.runtime.predictor import MODEL, SIGNATURE, Predictor, Signature

PARITY_ROWS = 1000
"""Training rows replayed at most."""

PARITY_TOLERANCE = 1e-4
"""Largest difference between two probabilities."""

_LIBRARIES = ("keras", "numpy", "onnx", "onnxruntime", "pillow", "tensorflow", "tensorflow-transform", "tf2onnx")


def _service_code(ctx: Context) -> dict[str, str]:
    """The Bento carries the service's sources, which no import of this module leads to."""
    return {path.name: digest_file(path) for path in sorted((ROOT / "serving").glob("*.py"))}


@stage("package", "classes", "image", "features", "serving", reproducible=False, outside=_service_code)
def package(ctx: Context) -> Outcome:
    """Exports, checks parity, and builds the Bento.

    Raises:
        Refused: the package predicts otherwise than the trained model; the rows are named.
    """
    split = read_split(ctx.store.fetch(ctx.input("dataset").folder), "train")
    transform = ctx.file(ctx.input("transform"), "transform_fn")
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    widths: dict[str, int] = {feature.kind: split.features[feature.kind].shape[1] for feature in ctx.spec.features}
    export_onnx(transform, model, ctx.spec.image, widths, ctx.out / MODEL)
    _describe(ctx, split)

    rows = np.unique(np.linspace(0, len(split) - 1, min(PARITY_ROWS, len(split))).astype(int))
    transformed = np.load(ctx.file(ctx.input("transform"), "train.npy"), mmap_mode="r")
    expected = trained_probabilities(model, split.images[rows], transformed[rows])
    images = [ctx.store.read_bytes(split.uris[row]) for row in rows]
    difference = check_parity(ctx.out, images, expected, [split.entities[row] for row in rows])

    name = f"{ctx.spec.name}-{ctx.key[:12]}.bento"
    build_bento(ctx.out, ctx.spec.name, ctx.key[:12], ctx.work, ctx.out / name)
    metrics = {
        "parity_rows": len(rows),
        "parity_max_abs_diff": difference,
        "model_bytes": (ctx.out / MODEL).stat().st_size,
        "bento": name,
        "bento_bytes": (ctx.out / name).stat().st_size,
    }
    return Outcome(metrics=metrics)


def trained_probabilities(model: keras.Model, images: np.ndarray, features: np.ndarray) -> np.ndarray:
    """What the model gave in training: float32, (N, classes).

    Args:
        images: uint8, (N, H, W, C).
        features: float32, (N, D), transformed.
    """
    logits = model.predict({"image": images, "features": np.asarray(features)}, batch_size=256, verbose=0)
    return np.asarray(keras.ops.softmax(logits))


def check_parity(folder: Path, images: list[bytes], expected: np.ndarray, entities: list[str]) -> float:
    """The largest difference of a probability between the package in ``folder`` and ``expected``.

    Args:
        images: the rows' original bytes.
        expected: float32, (N, classes).
        entities: the rows' names.

    Raises:
        Refused: it is above `PARITY_TOLERANCE`. (Up to it, only classes as likely as each other can change places.)
    """
    differences = np.abs(Predictor.load(folder).predict_bytes(images) - expected).max(axis=1)
    # Not a number is no parity either.
    bad = np.flatnonzero(~(differences <= PARITY_TOLERANCE))
    if len(bad):
        named = ", ".join(f"{entities[row]} ({differences[row]:.2g})" for row in bad[:5])
        raise Refused(
            f"The package predicts otherwise than the trained model on {len(bad)} of {len(images)} rows: {named}.",
            "Nothing was packaged. Compare decoder, extractors and transform of training and serving.",
        )
    return float(differences.max())


def _describe(ctx: Context, split: Split) -> None:
    spec = ctx.spec
    signature = Signature(
        project=spec.name,
        build=ctx.key[:12],
        classes=spec.classes,
        image=spec.image,
        features=spec.features,
        top_k=min(spec.serving.top_k, len(spec.classes)),
        max_body_kib=spec.serving.max_body_kib,
        max_pixels=spec.serving.max_pixels,
        libraries={name: version(name) for name in _LIBRARIES},
    )
    (ctx.out / SIGNATURE).write_text(json.dumps(signature.model_dump(mode="json"), indent=2), encoding="utf-8")
    kinds: dict[str, np.ndarray] = {feature.kind: split.features[feature.kind] for feature in spec.features}
    baseline = summarize(kinds, names(spec.features, spec.image))
    (ctx.out / BASELINE).write_text(baseline.model_dump_json(), encoding="utf-8")
