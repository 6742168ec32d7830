"""Killed at any moment, a training goes on, and ends with the weights of one that nobody disturbed, to the bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.core.settings import ROOT
from tests.servers.s3 import S3Server
from tests.training.trained import OVERRIDES

pytestmark = pytest.mark.slow

PLAIN = {**OVERRIDES, "training.epochs": 12}
EVERYTHING = {
    **PLAIN,
    "training.ema": 0.9,
    "training.augmentation": {"rotation": 20, "mixup": 0.2},
    "training.early_stopping": {"patience": 12},
    "training.checkpoints": {"every": 2},
}
EPOCHS = PLAIN["training.epochs"]


LEFT_ALONE: dict[str, Any] = {"kills": [], "seed": 0, "env": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the homes, by number."""
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def answers(folder: Path, s3_server: S3Server) -> list[dict[str, Any]]:
    """What became of each training: undisturbed and killed, twice."""
    bucket = {**s3_server.environment, "UPDRAFT_STORE": f"s3://{s3_server.bucket()}/artifacts"}
    scenarios = [
        {**LEFT_ALONE, "overrides": EVERYTHING},
        {**LEFT_ALONE, "overrides": EVERYTHING, "kills": ["rank 1", "writing", "clearing", "stage"], "seed": 2},
        {**LEFT_ALONE, "overrides": PLAIN},
        {**LEFT_ALONE, "overrides": PLAIN, "kills": ["writing", "stage"], "seed": 4, "env": bucket},
    ]
    given = [{"home": str(folder / str(number)), **scenario} for number, scenario in enumerate(scenarios)]
    command = [sys.executable, "-m", "tests.training.killing"]
    done = subprocess.run(command, input=json.dumps(given), cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=590)
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("first", [0, 2], ids=["on a folder, with all that has state", "on S3, with dropout alone"])
def test_the_retry_ends_with_the_weights_of_the_undisturbed_run(answers: list[dict[str, Any]], first: int) -> None:
    undisturbed, disturbed = answers[first : first + 2]
    assert undisturbed["epochs"] == EPOCHS
    assert disturbed["cache"] == "MISS"
    assert 0 < disturbed["epochs"] < EPOCHS, "the last attempt resumed nothing, or had nothing left to do"
    assert disturbed["metrics"] == undisturbed["metrics"]


def test_nothing_half_made_is_left(answers: list[dict[str, Any]], folder: Path) -> None:
    assert not list((folder / "1" / "store" / ".partial").iterdir())
