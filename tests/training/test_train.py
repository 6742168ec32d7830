"""The train stage with two Horovod ranks: which trials it takes, what it leaves, and what its model starts from."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tasks.core.artifacts import Manifest
from tasks.core.errors import StageFailed
from tasks.core.settings import settings
from tasks.training.loop import EVENTS, weights_digest
from tasks.training.train import best_trials
from tests.digits import Platform, open_platform
from tests.training.trained import OVERRIDES, PARAMS, run_train


class Case:
    """A platform on which the stage ran for one model, for two, and for a deeper one that starts from those."""

    def __init__(self) -> None:
        self.platform: Platform = open_platform()
        self.home = settings().home
        self.one = run_train({**OVERRIDES, "training.epochs": 4}, platform=self.platform)
        self.two = run_train({**OVERRIDES, "training.epochs": 2, "training.ensemble": 2}, platform=self.platform)
        self.platform.registry.register("digits", "key", "digits/package/key", {"candidate": self.two.key})
        self.lines: list[str] = []
        deeper = {"model.filters": [4, 4], "model.start": {"version": 1, "frozen_epochs": 1}}
        self.started = run_train({**OVERRIDES, **deeper, "training.epochs": 2}, self.lines.append, self.platform)

    def file(self, manifest: Manifest, name: str) -> Path:
        """One of the artifact's files."""
        return self.platform.store.fetch(f"{manifest.folder}/{name}")

    def json(self, manifest: Manifest, name: str) -> dict:
        """What such a file holds."""
        return json.loads(self.file(manifest, name).read_text())

    def model(self, manifest: Manifest) -> keras.Model:
        """The trained one."""
        return keras.models.load_model(self.file(manifest, "model.keras"), compile=False)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """See `Case`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(tmp_path_factory.mktemp("trained")))
        settings.cache_clear()
        made = Case()
    settings.cache_clear()
    return made


@pytest.mark.slow
def test_trains_the_best_trial_with_every_rank(case: Case) -> None:
    metrics = case.one.metrics
    assert (metrics["ranks"], metrics["trial"], metrics["epochs"]) == (2, 1, 4)
    assert case.json(case.one, "params.json") == {"trial": 1, "params": PARAMS}
    history = case.json(case.one, "history.json")
    rates = [epoch["learning_rate"] for epoch in history]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 1e-6 < 0.008 < rates[0] + 0.001
    assert history[-1]["loss"] < history[0]["loss"] * 0.9
    assert all(metrics[name] == history[-1][name] for name in ("loss", "val_loss", "accuracy", "val_accuracy"))
    assert case.file(case.one, "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_tensorboard_reads_each_epoch(case: Case) -> None:
    folder = case.home / EVENTS / "digits" / case.one.key[:12] / "trial-0001" / "validation"
    found = EventAccumulator(str(folder)).Reload()
    steps = [event.step for event in found.Tensors("epoch_loss")]
    assert steps == [0, 1, 2, 3]
    told = [tf.make_ndarray(event.tensor_proto) for event in found.Tensors("epoch_accuracy")]
    assert np.allclose(told, [epoch["val_accuracy"] for epoch in case.json(case.one, "history.json")])


@pytest.mark.slow
def test_the_saved_model_is_the_trained_one(case: Case) -> None:
    model = case.model(case.one)
    assert weights_digest(model) == case.one.metrics["weights_digest"]
    assert 24 in {layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)}, (
        "the winning trial's parameters were not applied"
    )


@pytest.mark.slow
def test_an_ensemble_is_of_the_best_completed_trials(case: Case) -> None:
    metrics = case.two.metrics
    assert [member["trial"] for member in metrics["members"]] == [1, 0]
    assert case.json(case.two, "params.json") == {"trial 1": PARAMS, "trial 0": {"model.units": [12]}}
    histories = case.json(case.two, "history.json")
    assert {name: len(history) for name, history in histories.items()} == {"trial 1": 2, "trial 0": 2}
    pictures = {name for name in case.two.outputs if name.endswith(".png")}
    assert len(pictures) == 2
    assert all(case.file(case.two, name).read_bytes().startswith(b"\x89PNG") for name in pictures)


@pytest.mark.slow
def test_an_ensemble_is_one_model(case: Case) -> None:
    model, random = case.model(case.two), np.random.default_rng(0)
    assert weights_digest(model) == case.two.metrics["weights_digest"]
    shapes = {given.name: given.shape[1:] for given in model.inputs}
    rows = {"image": random.integers(0, 256, (5, *shapes["image"]), np.uint8)}
    rows["features"] = random.standard_normal((5, *shapes["features"])).astype(np.float32)
    assert model(rows).shape == (5, 10)


@pytest.mark.slow
def test_a_model_starts_from_a_version_and_says_so(case: Case) -> None:
    (line,) = [line for line in case.lines if "start:" in line]
    assert line.startswith("[rank 0] start: "), "each rank tells it"
    counts = [int(word) for word in line.split() if word.isdigit()]
    assert 2 <= counts[0] < counts[1]
    assert case.started.metrics["epochs"] == 2
    assert case.started.parts["outside"] == {"start": f"digits version 1 ({case.two.key[:12]})"}


@pytest.mark.slow
def test_checkpoints_of_what_is_published_are_removed_by_the_next_training(case: Case) -> None:
    left = {path.split("/")[2] for path in case.platform.store.list("digits/checkpoints")}
    assert left == {case.started.key}


def _manifest(*trials: tuple[int, str, dict, float, float]) -> Manifest:
    told = [
        {"number": number, "state": state, "params": params, "value": value, "loss": loss, "epochs": 2}
        for number, state, params, value, loss in trials
    ]
    return Manifest(
        project="p", stage="tune", partition=None, key="k", digest="d", metrics={"trials": told, "study": "s"}
    )


A, B, C = ({"model.depth": depth} for depth in (1, 2, 3))
WORKERS = [
    _manifest((0, "COMPLETE", A, 0.8, 0.5), (3, "PRUNED", C, 0.99, 0.1), (4, "COMPLETE", B, 0.9, 0.3)),
    _manifest((1, "COMPLETE", A, 0.9, 0.3), (2, "COMPLETE", B, 0.9, 0.2), (5, "FAIL", C, 0.0, 9.0)),
]


@pytest.mark.parametrize(("count", "numbers"), [(1, [2]), (2, [2, 1]), (3, [2, 1])])
def test_best_trials_have_different_parameters(count: int, numbers: list[int]) -> None:
    assert [trial["number"] for trial in best_trials(WORKERS, count)] == numbers


@pytest.mark.parametrize(
    ("trials", "winner"),
    [
        ([(0, 0.8, 0.1), (1, 0.9, 0.5)], 1),
        ([(0, 0.9, 0.3), (1, 0.9, 0.2)], 1),
        ([(1, 0.9, 0.2), (0, 0.9, 0.2)], 0),
    ],
    ids=["higher value", "lower loss among equals", "lower number among equals"],
)
def test_the_best_trial(trials: list[tuple[int, float, float]], winner: int) -> None:
    study = _manifest(*((number, "COMPLETE", {"n": number}, value, loss) for number, value, loss in trials))
    assert best_trials([study], 1)[0]["number"] == winner


def test_a_study_without_a_completed_trial_is_no_study() -> None:
    with pytest.raises(StageFailed, match="no trial of the study was completed"):
        best_trials([_manifest((0, "PRUNED", A, 0.8, 0.5))], 1)
