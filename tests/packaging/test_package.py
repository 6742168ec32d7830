"""The package stage on a real transform graph and a real model, small ones."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tasks.core.artifacts import Manifest
from tasks.core.errors import Refused, UpdraftError
from tasks.core.layout import FILE, Layout
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.shards import pack, read_split, read_table, write_split
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.core.store import LocalStore
from tasks.runtime.baseline import BASELINE, Baseline
from tasks.runtime.extractors import extract
from tasks.runtime.images import decode
from tasks.runtime.instances import BadRow, typed
from tasks.runtime.predictor import MODEL, SAVED_MODEL, Predictor
from tasks.runtime.table_features import extract_table
from tests.stages import load_stage, stage

ROWS = 60

COMMON = {
    "start": "2026-01-01",
    "classes": ["a", "b", "c"],
    "model": {"family": "mlp", "units": [8], "dropout": 0.2},
    "gates": [{"metric": "accuracy", "min": 0.5}],
    "serving": {"top_k": 9},
}
IMAGES = {
    "name": "tiny",
    "source": {"uri": "landing/tiny"},
    "image": {"height": 8, "width": 8, "channels": 1},
    "features": [
        {"kind": "image_stats", "normalize": {"kind": "bucketize", "buckets": 4}},
        {"kind": "hog", "orientations": 4, "cell": 4, "normalize": {"kind": "pca", "components": 6}},
        {"kind": "sift", "keypoints": 4, "words": 3},
    ],
    "model": {"family": "convnet", "filters": [4], "units": [8], "dropout": 0.2},
}
COLUMNS = [
    {"name": "age", "type": "number", "nullable": True},
    {"name": "size", "type": "number"},
    {"name": "member", "type": "boolean"},
    {"name": "seen", "type": "time"},
    {"name": "sky", "type": "category", "nullable": True},
    {"name": "said", "type": "text"},
    {"name": "unused", "type": "text"},
]
NUMBERS = {
    "name": "numbers",
    "task": "tabular_classification",
    "source": {"uri": "landing/numbers", "format": "table", "columns": COLUMNS},
    "features": [
        {"kind": "numeric", "columns": ["age", "size", "member"]},
        {"kind": "numeric", "name": "ranges", "columns": ["age", "size"], "normalize": {"kind": "min_max"}},
        {"kind": "numeric", "name": "lengths", "columns": ["age", "size"], "normalize": {"kind": "l2"}},
        {"kind": "date_parts", "columns": ["seen"]},
        {"kind": "text_stats", "columns": ["said"], "normalize": {"kind": "none"}},
    ],
}
STRINGS = {
    "name": "strings",
    "task": "text_classification",
    "source": {"uri": "landing/strings", "format": "table", "columns": COLUMNS},
    "features": [
        {"kind": "numeric", "columns": ["age"]},
        {"kind": "categorical", "columns": ["sky", "member"]},
        {"kind": "crossed", "columns": ["sky", "member"]},
        {"kind": "text", "column": "said", "ngrams": 2},
        {"kind": "text", "name": "order", "column": "said", "encode": {"kind": "sequence", "size": 4, "length": 3}},
    ],
}
PRICES = {
    **NUMBERS,
    "name": "prices",
    "task": "tabular_regression",
    "classes": [],
    "gates": [{"metric": "r2", "min": 0.5}],
}
SPECS = {"images": IMAGES, "numbers": NUMBERS, "prices": PRICES, "strings": STRINGS}


@dataclass(frozen=True)
class Trained:
    """What stands before the package stage runs, and what it made of it."""

    spec: Project
    store: LocalStore
    registry: Registry
    inputs: dict[str, list[Manifest]]
    package: Manifest

    @property
    def folder(self) -> Path:
        return self.store.fetch(self.package.folder)


def _made(kind: str, home: Path) -> Iterator[Trained]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(home))
        settings.cache_clear()
        spec = Project.model_validate({**COMMON, **SPECS[kind]})
        store, registry = LocalStore(settings().home / "store"), Registry(settings().registry_url)
        made: dict[str, list[Manifest]] = {}
        for name, write in (("dataset", _dataset), ("transform", _transform), ("train", _train)):
            made[name] = [_artifact(name, write, spec, store, registry, made)]
        yield Trained(spec, store, registry, made, _package(spec, store, registry, made))
        registry.close()
    settings.cache_clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A package of images."""
    yield from _made("images", tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A package of a table without strings in its graph."""
    yield from _made("numbers", tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A package that predicts numbers."""
    yield from _made("prices", tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def strings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A package of a table with strings in its graph."""
    yield from _made("strings", tmp_path_factory.mktemp("home"))


def test_the_package_predicts_what_the_trained_model_does(trained: Trained) -> None:
    assert trained.package.metrics["parity_rows"] == ROWS
    assert trained.package.metrics["parity_max_abs_diff"] <= 1e-4
    predictor = Predictor.load(trained.folder)
    probabilities = predictor.predict_bytes([_png(900), _png(901)])
    assert probabilities.shape == (2, 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_batch_is_answered_like_its_rows_alone(trained: Trained) -> None:
    predictor = Predictor.load(trained.folder)
    images = [_png(seed) for seed in range(300)]
    alone = np.concatenate([predictor.predict_bytes([image]) for image in images])
    np.testing.assert_allclose(predictor.predict_bytes(images), alone, atol=1e-6)


def test_the_signature_and_the_baseline_tell_what_was_packaged(trained: Trained) -> None:
    signature = Predictor.load(trained.folder).signature
    assert (signature.project, signature.classes, signature.top_k) == ("tiny", ("a", "b", "c"), 3)
    assert signature.build == trained.package.key[:12]
    baseline = Baseline.model_validate_json((trained.folder / BASELINE).read_bytes())
    assert baseline.rows == ROWS
    assert {group: len(dimensions) for group, dimensions in baseline.features.items()} == {
        "image_stats": 5,
        "hog": 16,
        "sift": 512,
    }
    assert all(sum(d.counts) == ROWS for dimensions in baseline.features.values() for d in dimensions)


@pytest.mark.parametrize("harm", ["other_weights", "not_a_number"])
def test_a_tampered_package_is_refused_and_rows_named(trained: Trained, tmp_path: Path, harm: str) -> None:
    import onnx
    from onnx import numpy_helper

    from tasks.packaging.package import check_parity

    model = onnx.load(str(trained.folder / "model.onnx"))
    weights = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    changed = numpy_helper.to_array(weights) * (1.5 if harm == "other_weights" else np.nan)
    weights.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), weights.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    (tmp_path / "signature.json").write_bytes((trained.folder / "signature.json").read_bytes())
    images = [_png(seed) for seed in range(20)]
    expected = Predictor.load(trained.folder).predict_bytes(images)
    found = Predictor.load(tmp_path).predict_bytes(images)
    assert check_parity(expected, expected, [str(n) for n in range(20)]) == 0
    with pytest.raises(Refused, match=r"rows: digit-"):
        check_parity(found, expected, [f"digit-{n}" for n in range(20)])


def test_a_serving_skew_publishes_nothing(trained: Trained) -> None:
    """The same stage with a dataset whose images are not those that its features were computed from."""
    skewed = _artifact("dataset", _skewed_dataset, trained.spec, trained.store, trained.registry, {})
    with pytest.raises(Refused, match="predicts otherwise"):
        _package(trained.spec, trained.store, trained.registry, {**trained.inputs, "dataset": [skewed]})
    published = {path.split("/")[2] for path in trained.store.list("tiny/package")}
    assert published == {trained.package.key}


def test_a_damaged_package_does_not_load(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "signature.json").write_bytes((trained.folder / "signature.json").read_bytes())
    (tmp_path / "model.onnx").write_bytes((trained.folder / "model.onnx").read_bytes()[:500])
    with pytest.raises(UpdraftError, match="cannot be loaded"):
        Predictor.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "graph"), [("numbers", MODEL), ("strings", SAVED_MODEL)])
def test_a_tables_package_predicts_what_the_trained_model_does(
    request: pytest.FixtureRequest, kind: str, graph: str
) -> None:
    made: Trained = request.getfixturevalue(kind)
    metrics = made.package.metrics
    assert (metrics["parity_rows"], metrics["model"]) == (ROWS, graph)
    assert 0 <= metrics["parity_max_abs_diff"] <= 1e-4
    assert metrics["model_bytes"] > 1000
    predictor = Predictor.load(made.folder)
    found = predictor.predict_rows([_row(900), _row(901), {**_row(901), "sky": "never seen", "age": None}])
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert not np.allclose(found[0], found[1]) and not np.allclose(found[1], found[2])


@pytest.mark.slow
def test_a_regressions_package_gives_the_numbers_of_the_trained_model(prices: Trained) -> None:
    import keras

    from tasks.packaging.package import number_tolerance

    assert prices.package.metrics["parity_max_abs_diff"] <= number_tolerance(np.array([0, 1000, 2000], np.float32))
    predictor = Predictor.load(prices.folder)
    signature = predictor.signature
    assert (signature.task, signature.classes, signature.top_k) == ("regression", (), 1)
    split = read_split(prices.store.fetch(prices.inputs["dataset"][0].folder), "train")
    model = keras.models.load_model(prices.store.fetch(f"{prices.inputs['train'][0].folder}/model.keras"))
    features = np.load(prices.store.fetch(f"{prices.inputs['transform'][0].folder}/train.npy"))
    found = predictor.predict_rows([json.loads(row) for row in split.rows])
    np.testing.assert_allclose(found, model.predict({"features": features}, verbose=0), rtol=1e-4, atol=1e-4)
    assert found.shape == (ROWS, 1) and found.std() > 0


def test_numbers_may_differ_by_a_little_of_their_deviation_and_by_what_single_precision_cannot_tell() -> None:
    from tasks.packaging.package import number_tolerance

    assert number_tolerance(np.array([-1000, 1000], np.float32)) == pytest.approx(0.1, rel=0.01)
    years = np.array([100_000_000, 100_000_008], np.float32)
    assert 8 <= number_tolerance(years) <= 100
    assert number_tolerance(np.array([5, 5], np.float32)) > 0


@pytest.mark.slow
def test_a_column_that_no_feature_is_made_from_need_not_be_sent(numbers: Trained) -> None:
    predictor, row = Predictor.load(numbers.folder), _row(900)
    without = {name: value for name, value in row.items() if name not in {"unused", "sky"}}
    assert np.array_equal(predictor.predict_rows([without]), predictor.predict_rows([row]))
    with pytest.raises(BadRow, match="size is missing"):
        predictor.predict_rows([{**row, "size": None}])


@pytest.mark.slow
def test_texts_are_not_in_the_baseline_and_categories_are(strings: Trained) -> None:
    baseline = Baseline.model_validate_json((strings.folder / BASELINE).read_bytes())
    assert set(baseline.features) == {"numeric", "categorical", "crossed"}
    sky, member = baseline.features["categorical"]
    assert set(sky.values) == {"sun", "rain", ""} and set(member.values) == {"true", "false"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbers", "prices", "strings"])
def test_a_tables_serving_skew_publishes_nothing(request: pytest.FixtureRequest, kind: str) -> None:
    made: Trained = request.getfixturevalue(kind)
    skewed = _artifact("dataset", _skewed_dataset, made.spec, made.store, made.registry, {})
    with pytest.raises(Refused, match="predicts otherwise"):
        _package(made.spec, made.store, made.registry, {**made.inputs, "dataset": [skewed]})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trained", "numbers", "strings"])
def test_the_bento_serves_alone(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    made: Trained = request.getfixturevalue(kind)
    name, build = made.spec.name, made.package.key[:12]
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml"), "UPDRAFT_HOME": str(tmp_path / "home")}
    environment |= {"BENTOML_DO_NOT_TRACK": "True"}
    environment.pop("PYTHONPATH", None)
    bentoml = [sys.executable, "-m", "bentoml"]
    bento = made.folder / made.package.metrics["bento"]
    subprocess.run([*bentoml, "import", str(bento)], env=environment, cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*bentoml, "serve", f"{name}:{build}", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    sent: dict[str, Any] = {"json": {"instances": [_row(5)]}}
    if kind == "trained":
        sent = {"content": _png(5), "headers": {"content-type": "image/png"}}
    try:
        answer = _first_answer(server, f"http://127.0.0.1:{port}/v1/{name}/predict", sent, tmp_path / "log")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    predictor = Predictor.load(made.folder)
    expected = (predictor.predict_bytes([_png(5)]) if kind == "trained" else predictor.predict_rows([_row(5)]))[0]
    given = {row["label"]: row["probability"] for row in answer["predictions"][0]["top"]}
    assert given == pytest.approx(dict(zip("abc", expected.tolist(), strict=True)))
    assert answer["version"] == build


def _first_answer(server: subprocess.Popen[bytes], url: str, sent: dict[str, Any], log: Path) -> dict[str, Any]:
    while server.poll() is None:
        try:
            response = httpx.post(url, **sent, trust_env=False, timeout=30)
            assert response.status_code == 200, response.text
            return response.json()
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def _package(spec: Project, store: LocalStore, registry: Registry, inputs: dict[str, list[Manifest]]) -> Manifest:
    needed = {name: inputs[name] for name in ("dataset", "transform", "train")}
    return execute(load_stage("tasks.packaging.package:package"), spec, needed, store=store, registry=registry)


def _artifact(
    name: str,
    write: Callable[[Context], None],
    spec: Project,
    store: LocalStore,
    registry: Registry,
    inputs: dict[str, list[Manifest]],
) -> Manifest:
    @stage(name, outside=lambda ctx: {"variant": write.__name__})
    def run(ctx: Context) -> Outcome:
        write(ctx)
        return Outcome()

    return execute(run, spec, inputs, store=store, registry=registry)


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def _row(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    words = ["wind", "Sturm", "calm", "größer", "grey", "blue"]
    return {
        "age": None if seed % 7 == 0 else round(random.normal(40, 10), 3),
        "size": float(random.integers(0, 5)),
        "member": bool(seed % 2),
        "seen": f"2026-0{1 + seed % 9}-11T{seed % 24:02}:30:00Z",
        "sky": [None, "sun", "rain"][seed % 3],
        "said": " ".join(random.choice(words, 4)),
        "unused": "x",
    }


SPLITS = {"train": range(ROWS), "validation": range(100, 110), "test": range(200, 210)}


def _dataset(ctx: Context, shift: int = 0) -> None:
    """``shift``: the rows' original values are others than those that the features were computed from."""
    for split, seeds in SPLITS.items():
        labels = np.array([seed % 3 for seed in seeds])
        if ctx.spec.is_regression:
            labels = 1000.0 * labels
        entities = [f"digit-{seed}" for seed in seeds]
        times = [datetime(2026, 1, 1, tzinfo=UTC)] * len(seeds)
        uris = [f"tiny/raw/{seed + shift}.png" for seed in seeds]
        if ctx.spec.image:
            for seed, uri in zip(seeds, uris, strict=True):
                ctx.store.write_bytes(uri, _png(seed + shift))
            images = np.stack([decode(_png(seed), ctx.spec.image) for seed in seeds])
            rows = [extract(image, ctx.spec.features) for image in images]
            groups = {group: np.stack([row[group] for row in rows]) for group in rows[0]}
            table = pack(images, groups, labels, entities, uris, times)
        else:
            groups = extract_table(typed([_row(seed) for seed in seeds], ctx.spec.source.columns), ctx.spec.features)
            sent = [json.dumps(_row(seed + shift)) for seed in seeds]
            table = pack(None, groups, labels, entities, uris, times, rows=sent)
        write_split(ctx.out, split, table)


def _skewed_dataset(ctx: Context) -> None:
    _dataset(ctx, shift=10_000)


def _transform(ctx: Context) -> None:
    from tasks.features.transform import fit, load, raw_names

    folder = ctx.store.fetch(ctx.input("dataset").folder)
    raw = raw_names(ctx.spec.features, ctx.spec.image, read_table(folder, "train").schema)
    fit(sorted(folder.glob("train-*.arrow")), ctx.spec.features, raw, ctx.out / "transform_fn", ctx.work)
    fitted = load(ctx.out / "transform_fn")
    np.save(ctx.out / "train.npy", fitted.run(read_split(folder, "train").features))
    (ctx.out / FILE).write_text(json.dumps({"slices": fitted.layout.as_json()}), encoding="utf-8")


def _train(ctx: Context) -> None:
    import keras

    from tasks.models import build_model

    keras.utils.set_random_seed(1)
    model = build_model(ctx.spec, Layout.read(ctx.file(ctx.input("transform"), FILE).parent))
    # Statistics and weights off their initial values, as training leaves them.
    model.set_weights([w + np.random.default_rng(2).uniform(0.05, 0.2, w.shape) for w in model.get_weights()])
    model.save(ctx.out / "model.keras")
