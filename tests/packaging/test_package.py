"""The package stage on a real transform graph and a real model, small ones."""

import io
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

import httpx
import numpy as np
import pytest
from PIL import Image

from tasks.core.artifacts import Manifest
from tasks.core.errors import Refused, UpdraftError
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.shards import pack, read_split, write_split
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, Stage, execute
from tasks.core.store import LocalStore
from tasks.runtime.baseline import BASELINE, Baseline
from tasks.runtime.extractors import extract
from tasks.runtime.images import decode
from tasks.runtime.predictor import Predictor

ROWS = 60

SPEC = {
    "name": "tiny",
    "start": "2026-01-01",
    "classes": ["a", "b", "c"],
    "source": {"uri": "landing/tiny"},
    "image": {"height": 8, "width": 8, "channels": 1},
    "features": [{"kind": "image_stats"}, {"kind": "hog", "orientations": 4, "cell": 4}],
    "model": {"family": "convnet", "filters": [4], "units": [8], "dropout": 0.2},
    "gates": [{"metric": "accuracy", "min": 0.5}],
    "serving": {"top_k": 9},
}


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(tmp_path_factory.mktemp("home")))
        settings.cache_clear()
        spec = Project.model_validate(SPEC)
        store, registry = LocalStore(settings().home / "store"), Registry(settings().registry_url)
        made: dict[str, list[Manifest]] = {}
        for name, write in (("dataset", _dataset), ("transform", _transform), ("train", _train)):
            made[name] = [_artifact(name, write, spec, store, registry, made)]
        yield Trained(spec, store, registry, made, _package(spec, store, registry, made))
        registry.close()
    settings.cache_clear()


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
    assert {kind: len(dimensions) for kind, dimensions in baseline.features.items()} == {"image_stats": 5, "hog": 16}
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
    assert check_parity(trained.folder, images, expected, [str(n) for n in range(20)]) == 0
    with pytest.raises(Refused, match=r"rows: digit-"):
        check_parity(tmp_path, images, expected, [f"digit-{n}" for n in range(20)])


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
def test_the_bento_serves_alone(trained: Trained, tmp_path: Path) -> None:
    bento = trained.folder / trained.package.metrics["bento"]
    tag = f"tiny:{trained.package.key[:12]}"
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml"), "UPDRAFT_HOME": str(tmp_path / "home")}
    environment |= {"BENTOML_DO_NOT_TRACK": "True"}
    environment.pop("PYTHONPATH", None)
    bentoml = [sys.executable, "-m", "bentoml"]
    subprocess.run([*bentoml, "import", str(bento)], env=environment, cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*bentoml, "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    try:
        answer = _first_answer(server, f"http://127.0.0.1:{port}/v1/tiny/predict", _png(5), tmp_path / "log")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    expected = Predictor.load(trained.folder).predict_bytes([_png(5)])[0]
    given = {row["label"]: row["probability"] for row in answer["predictions"][0]["top"]}
    assert given == pytest.approx(dict(zip("abc", expected.tolist(), strict=True)))
    assert answer["version"] == trained.package.key[:12]


def _first_answer(server: subprocess.Popen[bytes], url: str, image: bytes, log: Path) -> dict:
    while server.poll() is None:
        try:
            response = httpx.post(url, content=image, headers={"content-type": "image/png"}, trust_env=False)
            assert response.status_code == 200, response.text
            return response.json()
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def _package(spec: Project, store: LocalStore, registry: Registry, inputs: dict[str, list[Manifest]]) -> Manifest:
    from tasks.packaging.package import package

    needed = {name: inputs[name] for name in ("dataset", "transform", "train")}
    return execute(package, spec, needed, store=store, registry=registry)


def _artifact(
    name: str,
    write: Callable[[Context], None],
    spec: Project,
    store: LocalStore,
    registry: Registry,
    inputs: dict[str, list[Manifest]],
) -> Manifest:
    def run(ctx: Context) -> Outcome:
        write(ctx)
        return Outcome()

    stage = Stage(name, run, (), reproducible=True, outside=lambda ctx: {"variant": write.__name__})
    return execute(stage, spec, inputs, store=store, registry=registry)


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def _dataset(ctx: Context, shift: int = 0) -> None:
    for split, seeds in (("train", range(ROWS)), ("validation", range(100, 110)), ("test", range(200, 210))):
        uris = [f"tiny/ingest/x/files/{seed + shift}.png" for seed in seeds]
        for seed, uri in zip(seeds, uris, strict=True):
            ctx.store.write_bytes(uri, _png(seed + shift))
        images = np.stack([decode(_png(seed), ctx.spec.image) for seed in seeds])
        rows = [extract(image, ctx.spec.features) for image in images]
        table = pack(
            images,
            {f.kind: np.stack([row[f.kind] for row in rows]) for f in ctx.spec.features},
            np.array([seed % 3 for seed in seeds]),
            [f"digit-{seed}" for seed in seeds],
            uris,
            [datetime(2026, 1, 1, tzinfo=UTC)] * len(seeds),
        )
        write_split(ctx.out, split, table)


def _skewed_dataset(ctx: Context) -> None:
    _dataset(ctx, shift=10_000)


def _transform(ctx: Context) -> None:
    from tasks.features.transform import fit, load

    folder = ctx.store.fetch(ctx.input("dataset").folder)
    widths = {"image_stats": 5, "hog": 16}
    fit(sorted(folder.glob("train-*.arrow")), widths, ctx.out / "transform_fn", ctx.work)
    np.save(ctx.out / "train.npy", load(ctx.out / "transform_fn")(read_split(folder, "train").features))


def _train(ctx: Context) -> None:
    import keras

    from tasks.models import build_model

    keras.utils.set_random_seed(1)
    model = build_model(ctx.spec, features=21)
    # Statistics and weights off their initial values, as training leaves them.
    model.set_weights([w + np.random.default_rng(2).uniform(0.05, 0.2, w.shape) for w in model.get_weights()])
    model.save(ctx.out / "model.keras")
