"""The loop gives the same weights whatever ran before it in the process, and refuses what it cannot train on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.training.checkpoint import Checkpoints
from tasks.training.loop import Job, fit, weights_digest
from tests.digits import open_platform, project

MANY_THREADS = """
import tensorflow as tf
tf.constant(1.0) + 1.0
from tasks.core.errors import UpdraftError
from tasks.training.loop import configure
try:
    configure(0)
except UpdraftError as error:
    print(error.fix)
"""


def _job(rows: int = 200, checkpoints: Checkpoints | None = None, **overrides: object) -> Job:
    platform, spec = open_platform(), project({"training.epochs": 2, **overrides})
    data = platform.data(spec, rows)
    folders = (platform.store.fetch(data[name][0].folder) for name in ("dataset", "transform"))
    return Job(spec, *folders, epochs=2, checkpoints=checkpoints)


def _digest(job: Job) -> tuple[str, list[str]]:
    lines: list[str] = []
    model, _ = fit(job, lines.append)
    return weights_digest(model), lines


@pytest.mark.slow
def test_weights_follow_from_the_job_alone(home: Path) -> None:
    first, lines = _digest(_job())
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    other, _ = _digest(_job(**{"training.seed": 4}))
    assert other != first
    assert _digest(_job())[0] == first


def test_a_job_killed_after_its_last_epoch_has_nothing_left_to_train(home: Path, tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), "checkpoints")
    first, lines = _digest(_job(checkpoints=checkpoints))
    assert len(lines) == 2
    assert _digest(_job(checkpoints=checkpoints)) == (first, [])


def test_fewer_rows_than_a_batch_are_refused(home: Path) -> None:
    with pytest.raises(BadInput, match="14 training rows"):
        fit(_job(rows=20), print)


@pytest.mark.slow
def test_results_that_depend_on_the_number_of_cores_are_refused() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_NUM_INTRAOP_THREADS"}
    done = subprocess.run([sys.executable, "-c", MANY_THREADS], env=environment, capture_output=True, text=True)
    assert "TF_NUM_INTRAOP_THREADS=1" in done.stdout, done.stderr
