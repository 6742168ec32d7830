"""A training that is killed again and again: a process of its own, whose children are stages.

It has imported TensorFlow and never runs it, like Airflow's warm executor: so an attempt starts within a second.
``python -m tests.training.killing`` reads scenarios as JSON and prints, for each, what became of it.
"""

import json
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tasks.training import train  # noqa: F401 - before the forks
from tasks.training.jobs.heartbeat import Beat
from tests.stages import load_stage
from tests.training.trained import TARGET, run_train

MOST = 12
"""Batches until a kill; an epoch has ten."""

Overrides = Mapping[str, Any]
Tell = Callable[[str], None]


def main() -> None:
    """Runs each scenario ``{"home", "overrides", "kills", "seed", "env"}``.

    ``kills`` are what to kill, one attempt after the other: ``rank 0``, ``rank 1`` and ``stage`` at a random moment,
    ``writing`` and ``clearing`` in the middle of a checkpoint. The last attempt is left alone; its answer is
    ``metrics`` and ``cache`` of the manifest, and ``epochs``, how many it trained.
    """
    # Asked here, it is the same for all attempts: who edits the code meanwhile changes no key.
    print(f"code {load_stage(TARGET).code_version[:12]}", file=sys.stderr)
    for scenario in json.load(sys.stdin):
        settings.cache_clear()
        os.environ.update(scenario["env"], UPDRAFT_HOME=scenario["home"])
        chance = random.Random(scenario["seed"])
        for kill in scenario["kills"]:
            _killed(scenario["overrides"], kill, chance)
        print(json.dumps(_left_alone(scenario["overrides"])), flush=True)


def _killed(overrides: Overrides, kill: str, chance: random.Random) -> None:
    """One attempt, killed at a random step and a little later, or at its first checkpoint."""
    beats, later = chance.randint(1, MOST), chance.uniform(0, 0.05)
    if kill in ("writing", "clearing"):
        print(f"killed while {kill} a checkpoint", file=sys.stderr)
        pid, lines = _fork(lambda tell: _die_saving(kill, overrides, tell))
    else:
        print(f"{kill} is killed {later:.3f} s after batch {beats} began", file=sys.stderr)
        pid, lines = _fork(lambda tell: _die_training(kill, beats, later, overrides, tell))
    _end_of(lines)
    assert os.waitpid(pid, 0)[1] != 0, "it ended before it was killed"


def _left_alone(overrides: Overrides) -> dict[str, Any]:
    """An attempt that nobody disturbs."""
    pid, lines = _fork(lambda tell: _report(overrides, tell))
    told = _end_of(lines)
    assert os.waitpid(pid, 0)[1] == 0, "the attempt that nobody disturbed failed"
    return {**json.loads(told[-1]), "epochs": sum("] epoch " in line for line in told)}


def _report(overrides: Overrides, tell: Tell) -> None:
    manifest = run_train(overrides, tell)
    tell(json.dumps({"metrics": dict(manifest.metrics), "cache": manifest.cache}))


def _die_training(victim: str, beats: int, later: float, overrides: Overrides, tell: Tell) -> None:
    """A rank that has begun so many batches kills itself, or the stage whose child it is."""
    left, begin = [beats], Beat.on_train_batch_begin

    def counted(self: Beat, batch: int, logs: dict[str, Any] | None = None) -> None:
        begin(self, batch, logs)
        left[0] -= 1
        if left[0] == 0 and os.environ["HOROVOD_RANK"] == ("1" if victim == "rank 1" else "0"):
            target = os.getppid() if victim == "stage" else os.getpid()
            threading.Timer(later, os.kill, (target, signal.SIGKILL)).start()

    Beat.on_train_batch_begin = counted  # type: ignore[method-assign]
    run_train(overrides, tell)


def _die_saving(what: str, overrides: Overrides, tell: Tell) -> None:
    """The rank that saves dies when a checkpoint is half written, or when the first two stand side by side."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if what == "writing":
        os.fsync = die
    else:
        LocalStore.delete = die  # type: ignore[method-assign]
    run_train(overrides, tell)


def _end_of(lines: IO[str]) -> list[str]:
    """What is left to be told; returns when all processes of the attempt have ended."""
    with lines:
        return lines.read().splitlines()


def _fork(body: Callable[[Tell], object]) -> tuple[int, IO[str]]:
    """A child that does ``body``, and what it tells."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, os.fdopen(reading)
    code = 1
    try:
        with os.fdopen(writing, "w", buffering=1) as told:
            body(lambda line: print(line, file=told))
        code = 0
    except Exception:
        traceback.print_exc(limit=1)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
