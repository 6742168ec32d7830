"""What a package costs to serve: time, disk and memory, measured on the packaged runtime in a process of its own.

Run as a process, ``python -m tasks.evaluation.footprint FOLDER``, with the sample on standard input: nothing else has
been loaded there, and no other thread works beside it.
"""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tasks.core.errors import StageFailed, UpdraftError
from tasks.core.settings import ROOT
from tasks.runtime.predictor import Inputs, Predictor

BATCH = 32
"""Rows of ``batch_latency_ms``."""

BURSTS = 5
"""Of calls, for each latency; the quietest counts, for a busy machine slows a model down and never speeds it up."""

SECONDS = 0.1
"""How long a burst takes; with a slow model at least `CALLS` calls."""

CALLS = 3
_MIB = 2**20

Given = bytes | Mapping[str, Any]
"""A row as it is received: an image's bytes, or column to value."""


def footprint(folder: Path, sample: Sequence[Given]) -> dict[str, float]:
    """Measures the package in ``folder``.

    Args:
        sample: rows as they are received, at least one; what it takes to decode them and to compute their features
            counts.

    Returns:
        ``latency_ms`` and ``batch_latency_ms``: the median times for one row and for `BATCH` of them. ``size_mib``: of
        the package's files. ``memory_mib``: what a process that has loaded the package, and what runs it, and predicted
        keeps in memory.

    Raises:
        StageFailed: the process failed.
    """
    rows = [_written(row) for row in sample[:BATCH]]
    command = [sys.executable, "-m", "tasks.evaluation.footprint", str(folder)]
    ended = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, cwd=ROOT, env=os.environ)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise StageFailed(f"The package {folder} could not be measured: {last[:300]}", "Run the export stage again.")
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {**found, "size_mib": round(size / _MIB, 4)}


def measure(folder: Path, sample: Sequence[Given]) -> dict[str, float]:
    """What `footprint` measures in the process of its own."""
    predictor = Predictor.load(folder)
    batch = [sample[n % len(sample)] for n in range(BATCH)]
    latency = {"latency_ms": _quietest(predictor, batch[:1]), "batch_latency_ms": _quietest(predictor, batch)}
    return {**latency, "memory_mib": round(psutil.Process().memory_info().rss / _MIB, 1)}


def _quietest(predictor: Predictor, rows: Sequence[Given]) -> float:
    """Milliseconds, after one call that prepares the runtime."""
    run = _asking(predictor, rows)
    run()
    return round(min(_median(run) for _ in range(BURSTS)) * 1000, 3)


def _median(run: Callable[[], np.ndarray]) -> float:
    """Seconds that a call takes."""
    taken: list[float] = []
    while len(taken) < CALLS or sum(taken) < SECONDS:
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def _asking(predictor: Predictor, rows: Sequence[Given]) -> Callable[[], np.ndarray]:
    if predictor.signature.image is None:
        return lambda: predictor.predict(predictor.prepare_rows(rows, strict=False))  # type: ignore[arg-type]
    return lambda: predictor.predict(Inputs.join([predictor.prepare(data) for data in rows]))  # type: ignore[arg-type]


def _written(row: Given) -> Any:
    return base64.b64encode(row).decode() if isinstance(row, bytes) else dict(row)


def _read(written: Any) -> Given:
    return base64.b64decode(written) if isinstance(written, str) else written


def main() -> None:
    """The process."""
    try:
        print(json.dumps(measure(Path(sys.argv[1]), [_read(row) for row in json.load(sys.stdin)])))
    except UpdraftError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
