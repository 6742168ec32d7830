"""Evaluation of a project that predicts a number: from images, how far a digit is turned."""

import json
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

from tasks.core.artifacts import Manifest
from tasks.core.errors import BadInput
from tasks.core.layout import Layout
from tasks.core.shards import Split, pack, write_split
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.evaluation.baseline import ridge_regression
from tasks.runtime.predictor import MODEL, SIGNATURE, Signature
from tasks.training.loop import Job, fit
from tests import exports, packages
from tests.digits import Platform, open_platform, png
from tests.stages import stage

TURNED = Project.model_validate(
    {
        "name": "turned",
        "task": "image_regression",
        "start": "2026-01-01",
        "source": {"uri": "landing/turned"},
        "image": {"height": 8, "width": 8, "channels": 1},
        "features": [{"kind": "image_stats"}],
        "model": {"family": "mlp", "units": [32]},
        "training": {"ranks": 1, "epochs": 12, "batch_size": 16, "learning_rate": 0.01, "seed": 3},
        "evaluation": {"resamples": 100, "rows": 20, "slice_rows": 10, "robustness": ["rotation"], "explain": False},
        "gates": [{"metric": "r2", "min": 0.2}, {"metric": "mae", "beats": "champion", "tolerance": 1}],
    }
)
ROWS = {"train": 240, "validation": 40, "test": 60}


def turned(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ones, each turned by up to 60 degrees: uint8 (N, 8, 8), and the angles."""
    digits, random = load_digits(), np.random.default_rng(seed)
    ones = np.round(digits.images[digits.target == 1] * (255 / 16)).astype(np.uint8)
    angles = random.uniform(-60, 60, count)
    images = [Image.fromarray(ones[random.integers(len(ones))]).rotate(a, Image.Resampling.BILINEAR) for a in angles]
    return np.stack([np.asarray(image) for image in images]), angles


@stage("dataset", "task")
def _dataset(ctx: Context) -> Outcome:
    for seed, (name, count) in enumerate(ROWS.items()):
        images, angles = turned(count, seed)
        uris = [f"turned/raw/{name}-{row}.png" for row in range(count)]
        for image, uri in zip(images, uris, strict=True):
            ctx.store.write_bytes(uri, png(image))
        stats = {"image_stats": np.zeros((count, 5), np.float32)}
        times = [datetime(2026, 1, 1, tzinfo=UTC)] * count
        write_split(ctx.out, name, pack(images[..., None], stats, angles, uris, uris, times))
    return Outcome()


@stage("transform", "task")
def _transform(ctx: Context) -> Outcome:
    for name, count in ROWS.items():
        np.save(ctx.out / f"{name}.npy", np.zeros((count, 5), np.float32))
    (ctx.out / "transform.json").write_text(json.dumps({"slices": Layout.plain(5).as_json()}))
    return Outcome()


@stage("train", "task", reproducible=False)
def _train(ctx: Context) -> Outcome:
    folders = (ctx.store.fetch(ctx.input(name).folder) for name in ("dataset", "transform"))
    model, _ = fit(Job(ctx.spec, *folders, epochs=ctx.spec.training.epochs), print)
    model.save(ctx.out / "model.keras")
    return Outcome()


@stage("export", "task", "image", "features", "source", reproducible=False)
def _export(ctx: Context) -> Outcome:
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    plain = exports.write_form(ctx.out, ctx.spec, model, lambda raw: raw * 0.0, {"image_stats": 5})
    return Outcome(metrics={"forms": {"plain": plain}})


@stage("package", "task", reproducible=False)
def _package(ctx: Context) -> Outcome:
    """A stand-in for a served model, which always says 7."""
    described = {"project": "turned", "build": "stand-in", "task": "regression", "classes": (), "top_k": 1}
    limits = {"max_body_kib": 64, "max_pixels": 4096}
    signature = Signature(**described, **limits, image=ctx.spec.image, features=ctx.spec.features)
    (ctx.out / SIGNATURE).write_text(signature.model_dump_json())
    nodes = [
        helper.make_node("ReduceMean", ["image_stats"], ["mean"], axes=[1]),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "seven"], ["value"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 1])]
    inputs.append(helper.make_tensor_value_info("image_stats", TensorProto.FLOAT, ["N", 5]))
    outputs = [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N", 1])]
    values = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value]) for name, value in (("nothing", 0), ("seven", 7))
    ]
    graph = helper.make_graph(nodes, "seven", inputs, outputs, values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), ctx.out / MODEL)
    return Outcome()


@pytest.fixture
def platform(home: Path) -> Platform:
    return open_platform()


def _evaluated(platform: Platform, inputs: dict[str, list[Manifest]]) -> Manifest:
    return platform.run("tasks.evaluation.evaluate:evaluate", TURNED, **inputs)


def test_numbers_are_measured_in_the_labels_unit_and_judged(platform: Platform) -> None:
    where = {"store": platform.store, "registry": platform.registry}
    inputs = {"dataset": [execute(_dataset, TURNED, {}, **where)]}
    inputs["transform"] = [execute(_transform, TURNED, {}, **where)]
    inputs["train"] = [execute(_train, TURNED, inputs, **where)]
    inputs["export"] = [execute(_export, TURNED, inputs, **where)]
    manifest = _evaluated(platform, inputs)
    report = manifest.metrics
    assert report["rows"] == ROWS["test"] and report["champion"] is None
    # Always saying 0 is 30 degrees off on average, and 35 in root mean square.
    assert report["candidate"]["r2"] > 0.5 and report["candidate"]["mae"] < report["candidate"]["rmse"] < 25
    assert report["baseline"].keys() == report["candidate"].keys() and report["baseline"]["r2"] > 0.3
    folder = platform.store.fetch(manifest.folder)
    assert json.loads((folder / "report.json").read_text()) == report
    for picture in ("predictions", "robustness"):
        assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "calibration.json").exists()
    turned_more = report["forms"]["plain"]["robustness"]
    assert turned_more["rotation"]["metrics"]["mae"] > turned_more["undisturbed"]["metrics"]["mae"]

    package = execute(_package, TURNED, {}, **where)
    version = platform.registry.register(
        "turned", package.key, package.path, {"candidate": "a", "judged_against": None}
    )
    platform.registry.move_alias("turned", "champion", version.version, expected=None, who="test", why="test")
    judged = _evaluated(platform, inputs)
    _, angles = turned(ROWS["test"], 2)
    assert judged.metrics["champion"]["mae"] == pytest.approx(np.abs(angles - 7).mean(), rel=1e-4)
    low, high = judged.metrics["against"]["champion"]["mae"]
    assert low < high < 0, "the candidate is surely better than one who always says 7"
    gates = platform.run("tasks.evaluation.gates:gate", TURNED, evaluate=[judged]).metrics
    assert gates["passed"] and [gate["metric"] for gate in gates["gates"]] == ["r2", "mae"]

    # A package of classes cannot be asked for numbers.
    packages.write_package(platform.store.root / "turned/package/classes")
    version = platform.registry.register(
        "turned", "classes", "turned/package/classes/manifest.json", {"candidate": "b"}
    )
    platform.registry.move_alias("turned", "champion", version.version, expected=1, who="test", why="test")
    with pytest.raises(BadInput, match="champion version 2 predicts something else than this image_regression"):
        _evaluated(platform, inputs)


def test_the_baseline_is_a_ridge_regression_of_pixels_and_features() -> None:
    train, test = _split(200, 1), _split(50, 2)
    features = [np.zeros((len(split), 1), np.float32) for split in (train, test)]
    found = ridge_regression(train, features[0], test, features[1], Layout.plain(1))
    expected = Ridge().fit(train.images.reshape(200, -1) / 255, train.labels).predict(test.images.reshape(50, -1) / 255)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_of_a_sequence_the_baseline_counts_words() -> None:
    """Tokens 1 to 9, six a row; the label is how often 5 is among them, wherever it stands."""
    tokens = np.random.default_rng(0).integers(1, 10, (300, 6))
    labels = (tokens == 5).sum(axis=1).astype(np.float32)
    names = [str(row) for row in range(300)]
    split = Split(None, {}, labels, names, names, np.zeros(300, np.int32), ["{}"] * 300)
    layout = Layout.beside({"text": Layout.one("tokens", 6, size=10)})
    found = ridge_regression(split, tokens.astype(np.float32), split, tokens.astype(np.float32), layout)
    np.testing.assert_allclose(found, labels, atol=0.1)


def _split(rows: int, seed: int) -> Split:
    images, angles = turned(rows, seed)
    names = [str(row) for row in range(rows)]
    return Split(images[..., None], {}, angles.astype(np.float32), names, names, np.zeros(rows, np.int32), None)
