"""A newcomer's wait: a fresh clone with a fresh cache to the summary, and again with the Horovod wheel cached."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure
from tasks.core.settings import ROOT

PORTS = {"UPDRAFT_AIRFLOW_PORT": "18098", "UPDRAFT_SERVING_PORT": "13098"}


def measure() -> list[Figure]:
    """Clones twice into empty folders; the second clone finds the wheel (and uv's packages) in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (_clone_to_summary(Path(folder), name) for name in ("cold", "warm"))
    return [
        Figure("fresh clone, fresh cache: make run", cold / 60, "min", "<= 15"),
        Figure("fresh clone, wheel cached: make run", warm / 60, "min", "<= 6", "the clone before it"),
    ]


def _clone_to_summary(folder: Path, name: str) -> float:
    clone = folder / name
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("UPDRAFT_", "VIRTUAL_ENV", "MAKE", "MFLAGS"))}
    environment = {**keep, "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder / "home"), **PORTS}
    (folder / "home").mkdir(exist_ok=True)
    started = time.monotonic()
    try:
        subprocess.run(["make", "run"], cwd=clone, env=environment, check=True)
        return time.monotonic() - started
    finally:
        subprocess.run(["make", "stop"], cwd=clone, env=environment, check=True)
