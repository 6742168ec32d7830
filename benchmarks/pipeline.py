"""The whole digits pipeline: through Airflow, against the same stages in one process, from empty homes in one run."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from tasks.core.config import load_project
from tasks.core.settings import settings
from tasks.platform import services
from tasks.platform.demo import pipeline_through_airflow, question_endpoint
from tasks.platform.local import land_sample

PORTS = {"UPDRAFT_AIRFLOW_PORT": "18099", "UPDRAFT_SERVING_PORT": "13099"}


def measure() -> list[Figure]:
    """Runs both and compares wall time, work done, and what the model is worth."""
    with tempfile.TemporaryDirectory() as folder:
        local_seconds, manifests = _local(Path(folder) / "local")
        airflow_seconds, again_seconds, held = _airflow(Path(folder) / "airflow")
    report = next(m["metrics"] for m in manifests if m["stage"] == "evaluate")
    work: Counter[str] = Counter()
    for manifest in manifests:
        work[manifest["stage"]] += manifest["seconds"]
    candidate, baseline = report["candidate"]["accuracy"], report["baseline"]["accuracy"]
    return [
        Figure("updraft run digits, empty home", local_seconds, "s"),
        *(Figure(f"of which stage {stage}", seconds, "s") for stage, seconds in work.items()),
        Figure("Airflow: backfill + train, empty home", airflow_seconds, "s"),
        Figure("Airflow / updraft run", airflow_seconds / local_seconds, "ratio", "<= 1.5", "updraft run digits"),
        Figure("Airflow again, unchanged: all HITs", again_seconds, "s"),
        Figure("digits test accuracy", candidate, "share", ">= 0.97", f"logistic regression: {baseline:.4f}"),
        Figure("accuracy above the baseline's", candidate - baseline, "share", ">= 0.0001", "fitted in the same run"),
        Figure("endpoint right on held-out rows", held, "share", ">= 0.97", "the live endpoint over HTTP"),
    ]


def _local(home: Path) -> tuple[float, list[dict[str, Any]]]:
    updraft = str(Path(sys.executable).parent / "updraft")
    started = time.monotonic()
    done = subprocess.run(
        [updraft, "run", "digits", "--json"],
        env={**os.environ, "UPDRAFT_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.monotonic() - started, json.loads(done.stdout)


def _airflow(home: Path) -> tuple[float, float, float]:
    os.environ |= {"UPDRAFT_HOME": str(home), **PORTS}
    settings.cache_clear()
    services.up(settings())
    try:
        spec = load_project("digits")
        land_sample(spec)
        started = time.monotonic()
        summary = pipeline_through_airflow(spec, settings(), lambda line: None)
        first = time.monotonic() - started
        held = question_endpoint(spec, summary, settings())
        started = time.monotonic()
        pipeline_through_airflow(spec, settings(), lambda line: None)
        return first, time.monotonic() - started, held.correct / held.rows
    finally:
        services.down(settings())
