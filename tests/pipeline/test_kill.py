"""An Airflow task that is killed in the middle of a training: the retry goes on, to the very same weights."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.settings import Settings
from tasks.platform.airflow import Airflow
from tests.pipeline.conftest import Installation

pytestmark = pytest.mark.slow

EPOCHS = 12  # another training than the one that the platform has done
# One that nothing passes: the test is about the weights, and the champion stays who it is.
FIELDS = {"training.epochs": EPOCHS, "gates": [{"metric": "accuracy", "min": 1.0}]}


def test_a_killed_task_is_retried_to_the_same_weights(
    local: Installation, platform: tuple[Installation, str], tmp_path: Path
) -> None:
    installation, _ = platform
    undisturbed = _train_alone(local, tmp_path / "home")
    epochs = random.Random(0).randint(1, 4)
    with Airflow(Settings(**installation.settings())) as airflow:  # type: ignore[arg-type]
        run = airflow.trigger("digits_train", {"set": FIELDS})
        key = _wait_for_checkpoint(installation.home, epochs)
        os.killpg(_stage(installation.home, key), signal.SIGKILL)
        airflow.wait("digits_train", [run])
        tries = {task.task: task.tries for task in airflow.task_instances("digits_train", run)}
    assert tries["train"] == 2
    assert key == undisturbed["key"]
    path = installation.home / "store" / "digits" / "train" / key / "manifest.json"
    assert json.loads(path.read_text())["metrics"] == undisturbed["metrics"]


def _train_alone(local: Installation, home: Path) -> dict:
    """The manifest of the same training in one process, in a copy of the home."""
    shutil.copytree(local.home, home)
    alone = Installation(home, {**local.env, "UPDRAFT_HOME": str(home)})
    done = alone.updraft("stage", "train", "digits", "--set", f"training.epochs={EPOCHS}")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])


def _wait_for_checkpoint(home: Path, epochs: int) -> str:
    """Returns the key of the training under way, once it has a checkpoint of so many epochs and is not over."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for path in (home / "store" / "digits" / "checkpoints").glob("*/*/epoch-*"):
            key, done = path.parts[-3], int(path.name.removeprefix("epoch-"))
            if epochs <= done < EPOCHS and not (home / "store" / "digits" / "train" / key).exists():
                return key
        time.sleep(0.02)
    raise AssertionError("no checkpoint within five minutes")


def _stage(home: Path, key: str) -> int:
    """The process that runs the stage: of those that hold its lock, the one whose parent does not."""
    holders = set(_holders(home / "locks" / f"digits-train-{key}.lock"))
    (stage,) = (pid for pid in holders if _parent(pid) not in holders)
    assert os.getpgid(stage) == stage, "Airflow gives each task a process group of its own"
    return stage


def _holders(lock: Path) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(file) == str(lock) for file in (process / "fd").iterdir()):
                yield int(process.name)
        except OSError:  # it ended meanwhile, or is somebody else's
            continue


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
