"""Whether the trainer waits for its data, in a process of its own: see `benchmarks.feeding`."""

import json
import os
import subprocess
import sys

from benchmarks.figures import Figure
from tasks.core.settings import ROOT
from tasks.platform.environment import ONE_THREAD, QUIET


def measure() -> list[Figure]:
    """Trains each model from shards and from memory, turn about, and one from a split of 800 MB."""
    command = [sys.executable, "-m", "benchmarks.feeding"]
    environment = {**os.environ, **QUIET, **ONE_THREAD}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [Figure(**figure) for figure in json.loads(done.stdout.splitlines()[-1])]
