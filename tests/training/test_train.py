"""The train stage with two Horovod ranks: what it leaves, which trial it takes, and that a kill changes nothing."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tasks.core.artifacts import Manifest
from tasks.core.settings import settings
from tasks.core.stages import Context, Outcome, execute
from tasks.training.loop import weights_digest
from tasks.training.train import best_trial
from tests.digits import Platform, open_platform, project
from tests.stages import stage

OVERRIDES = {"training.ranks": 2, "training.epochs": 6, "model.family": "convnet", "model.filters": [4]}
ROWS = 240
TARGET = "tasks.training.train:train"
PARAMS = {"model.dropout": 0.4, "training.learning_rate": 0.01, "model.units": [24]}

KILLED = """
import logging, os, signal
from tests.training.test_train import train

class KillAfterThreeEpochs(logging.Handler):
    def emit(self, record):
        if "epoch 3/" in record.getMessage():
            os.kill(os.getpid(), signal.SIGKILL)

logging.getLogger("updraft").setLevel(logging.INFO)
logging.getLogger("updraft").addHandler(KillAfterThreeEpochs())
train()
"""


@stage("tune", "description", reproducible=False)
def _trial(ctx: Context) -> Outcome:
    return Outcome(metrics=json.loads(ctx.spec.description))


def train(platform: Platform | None = None) -> Manifest:
    """Executes the stage over digits and two trials, of which the second is the better one."""
    platform, spec = platform or open_platform(), project(OVERRIDES)
    trials = [
        {"number": 0, "params": {}, "value": 0.5, "loss": 1.0},
        {"number": 1, "params": PARAMS, "value": 0.75, "loss": 1.0},
    ]
    tune = [
        execute(
            _trial,
            spec.model_copy(update={"description": json.dumps(trial)}),
            {},
            store=platform.store,
            registry=platform.registry,
        )
        for trial in trials
    ]
    return platform.run(TARGET, spec, tune=tune, **platform.data(spec, ROWS))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, Manifest]:
    """A platform on which the stage ran once, and its manifest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(tmp_path_factory.mktemp("undisturbed")))
        settings.cache_clear()
        platform = open_platform()
        manifest = train(platform)
    settings.cache_clear()
    return platform, manifest


def _file(platform: Platform, manifest: Manifest, name: str) -> Path:
    return platform.store.fetch(f"{manifest.folder}/{name}")


@pytest.mark.slow
def test_trains_the_best_trial_with_every_rank(undisturbed: tuple[Platform, Manifest]) -> None:
    platform, manifest = undisturbed
    assert manifest.metrics["ranks"] == 2
    assert manifest.metrics["trial"] == 1
    assert manifest.metrics["epochs"] == 6
    assert json.loads(_file(platform, manifest, "params.json").read_text()) == {"trial": 1, "params": PARAMS}

    history = json.loads(_file(platform, manifest, "history.json").read_text())
    rates = [epoch["learning_rate"] for epoch in history]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 1e-6 < 0.009 < rates[0] + 0.001
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert _file(platform, manifest, "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_saved_model_is_the_trained_one(undisturbed: tuple[Platform, Manifest]) -> None:
    platform, manifest = undisturbed
    model = keras.models.load_model(_file(platform, manifest, "model.keras"), compile=False)
    assert weights_digest(model) == manifest.metrics["weights_digest"]
    assert model.get_layer("dense").units == 24, "the winning trial's parameters were not applied"


@pytest.mark.slow
def test_killed_half_way_it_resumes_to_the_very_same_weights(
    undisturbed: tuple[Platform, Manifest], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    checkpoints = list((home / "work").glob("digits-train-*/checkpoints/*.npz"))
    assert len(checkpoints) == 1, "the kill left no checkpoint, or a published artifact"

    with caplog.at_level(logging.INFO, "updraft"):
        manifest = train()
    assert manifest.cache == "MISS"
    assert manifest.metrics == undisturbed[1].metrics
    lines = [record.getMessage() for record in caplog.records if "] epoch " in record.getMessage()]
    done = int(checkpoints[0].stem.removeprefix("epoch-"))
    assert done >= 2
    assert [line.split()[3] for line in lines] == [f"{epoch}/6" for epoch in range(done + 1, 7)]
    assert not list((home / "work").glob("digits-train-*")), "checkpoints of a published model are left behind"


def _manifest(number: int, value: float, loss: float) -> Manifest:
    metrics = {"number": number, "params": {}, "value": value, "loss": loss}
    return Manifest(project="p", stage="tune", partition=None, key="k", digest="d", metrics=metrics)


@pytest.mark.parametrize(
    ("trials", "winner"),
    [
        ([(0, 0.8, 0.1), (1, 0.9, 0.5)], 1),
        ([(0, 0.9, 0.3), (1, 0.9, 0.2)], 1),
        ([(1, 0.9, 0.2), (0, 0.9, 0.2)], 0),
    ],
    ids=["higher value", "lower loss among equals", "lower number among equals"],
)
def test_best_trial(trials: list[tuple[int, float, float]], winner: int) -> None:
    assert best_trial([_manifest(*trial) for trial in trials])["number"] == winner
