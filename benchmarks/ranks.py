"""Training two ranks of one thread against one process with two, against one rank, and against tf.distribute."""

import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from benchmarks import synthetic
from benchmarks.contenders import FEATURES, ROWS, SIDE
from benchmarks.figures import Figure
from tasks.core.settings import ROOT
from tasks.platform.environment import ONE_THREAD, QUIET

ROUNDS = 2
CORES = 2
THREADS = {"expert": CORES}
"""Per contender; the others' processes have one."""
ALONE = {"rank"}
"""Contenders that have one core; the others have `CORES`."""


def measure() -> list[Figure]:
    """Takes turns, several rounds; a contender's rate is that of its fastest epoch, for other work slows the rest."""
    names = ("ranks", "expert", "rank", "checkpoints", "distribute")
    rates = dict.fromkeys(names, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        (data := Path(folder) / "data").mkdir()
        synthetic.write(data, ROWS, side=SIDE, features=FEATURES)
        for _ in range(ROUNDS):
            for name in names:
                rates[name] = max(rates[name], *_rates(name, Path(folder)))
    return _figures(rates)


def _figures(rates: dict[str, float]) -> list[Figure]:
    ranks, pace = rates["ranks"], {name: f"{rate:.4g} images/s" for name, rate in rates.items()}
    cost = ranks / rates["checkpoints"] - 1
    epoch = f"an epoch without, of {ROWS['train'] / ranks:.2g} s"
    return [
        Figure("small ResNet at 32x32, 2 ranks, 1 thread each", ranks, "images/s"),
        Figure(
            "2 ranks : hand-written fit", ranks / rates["expert"], "ratio", ">= 0.95", f"2 threads, {pace['expert']}"
        ),
        Figure("2 ranks : 2 x 1 rank", ranks / (2 * rates["rank"]), "ratio", ">= 0.9", f"one core, {pace['rank']}"),
        Figure(
            "2 ranks : tf.distribute",
            ranks / rates["distribute"],
            "ratio",
            against=f"2 workers, hand-written loop, {pace['distribute']}",
        ),
        Figure("a checkpoint each epoch", cost, "of the epoch", "<= 0.05", epoch),
    ]


def _rates(name: str, home: Path) -> list[float]:
    """Images per second of each epoch but the first, in which graphs are traced."""
    cores = sorted(os.sched_getaffinity(0))[: 1 if name in ALONE else CORES]
    threads = dict.fromkeys(ONE_THREAD.keys() - {"JE_ARROW_MALLOC_CONF"}, str(THREADS.get(name, 1)))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders", name, str(home)],
        cwd=ROOT,
        env={**os.environ, **QUIET, **ONE_THREAD, **threads, "UPDRAFT_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # inherited by the processes that it starts
    )
    ends = json.loads(done.stdout.splitlines()[-1])
    return [ROWS["train"] / (end - start) for start, end in pairwise(ends)]
