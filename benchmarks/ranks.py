"""Training two ranks of one thread against one process with two, against one rank, and against tf.distribute."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks import synthetic
from benchmarks.contenders import FEATURES, ROWS, SIDE
from benchmarks.figures import Figure
from tasks.core.settings import ROOT
from tasks.platform.environment import ONE_THREAD, QUIET

Rounds = Sequence[Mapping[str, Sequence[float]]]
"""Per round, contender to its epochs' seconds."""

ROUNDS = 3
CORES = 2
THREADS = {"expert": CORES}
"""Per contender; the others' processes have one."""
ALONE = {"rank"}
"""Contenders that have one core; the others have `CORES`."""


def measure() -> list[Figure]:
    """Takes turns. Ratios are of one round, whose contenders met the same machine; the median round's counts."""
    names = ("ranks", "expert", "rank", "distribute", "checkpoints")
    with tempfile.TemporaryDirectory() as folder:
        (data := Path(folder) / "data").mkdir()
        synthetic.write(data, ROWS, side=SIDE, features=FEATURES)
        rounds = [{name: _seconds(name, Path(folder)) for name in names} for _ in range(ROUNDS)]
    return [
        Figure("small ResNet at 32x32, 2 ranks, 1 thread each", _pace(rounds, "ranks"), "images/s"),
        _ratio(rounds, "2 ranks : hand-written fit", "expert", f"{CORES} threads", target=0.95),
        _ratio(rounds, "2 ranks : 2 x 1 rank", "rank", "one core", target=0.9, times=2),
        _ratio(rounds, "2 ranks : tf.distribute", "distribute", f"{CORES} workers, hand-written loop"),
        _checkpoint(rounds),
    ]


def _ratio(
    rounds: Rounds, name: str, other: str, how: str, *, target: float | None = None, times: float = 1.0
) -> Figure:
    found = median(median(each[other]) / median(each["ranks"]) for each in rounds) / times
    against = f"{how}, {_pace(rounds, other):.4g} images/s"
    return Figure(name, found, "ratio", f">= {target}" if target else "", against)


def _pace(rounds: Rounds, name: str) -> float:
    return median(ROWS["train"] / median(each[name]) for each in rounds)


def _checkpoint(rounds: Rounds) -> Figure:
    """From epochs of one process that take turns: a checkpoint is written in the epoch after the one that it is of."""
    pairs = [(median(each["checkpoints"][1::2]), median(each["checkpoints"][::2])) for each in rounds]
    cost, epoch = median(with_one / without - 1 for with_one, without in pairs), median(pair[1] for pair in pairs)
    return Figure("a checkpoint", cost, "of the epoch", "<= 0.05", f"an epoch without, of {epoch:.2g} s")


def _seconds(name: str, home: Path) -> list[float]:
    """Of each epoch but the first, in which graphs are traced."""
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
    return [end - start for start, end in pairwise(ends)]
