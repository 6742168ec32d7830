"""How long a Horovod job of two ranks takes from its launch to the end of its first step, beside ``horovodrun``."""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.first_step import DONE
from tasks.core.settings import ROOT
from tasks.platform.environment import ONE_THREAD, QUIET

PROGRAM = [sys.executable, "-m", "benchmarks.first_step"]


def measure() -> list[Figure]:
    """The launcher from a warm process, the median of three jobs; horovodrun once, on the same script."""
    environment = {**os.environ, **QUIET, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    ours = json.loads(_output(PROGRAM, environment).splitlines()[-1])
    horovodrun = [str(Path(sys.executable).parent / "horovodrun"), "--gloo", "-np", "2", *PROGRAM, "--rank"]
    started = time.time()
    done = re.findall(rf"{DONE}([\d.]+)", _output(horovodrun, environment))
    theirs = max(map(float, done)) - started
    name = "2 ranks, launch to the end of the first step"
    return [
        Figure(f"{name}: from a warm process", statistics.median(ours), "s", "<= 5"),
        Figure(f"{name}: horovodrun", theirs, "s", against=f"ours: {statistics.median(ours):.2g} s"),
    ]


def _output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout
