"""A child process that has imported TensorFlow and never runs it, to fork ranks where the caller itself no longer can.

The two talk through one connection. The caller sends its import path and a job; the zygote sends ``(kind, value)``: the
ranks' lines while the job runs (and their beats, if it is one host's part of a job), then its results or its error. The
caller closing its end, or dying, ends the job and the zygote.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gc
import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from tasks.core.errors import RankFailed
from tasks.training.jobs import forked
from tasks.training.jobs.failures import AGAIN
from tasks.training.jobs.wire import ready

Message = tuple[str, Any]
"""``("line", text)``, ``("beats", {rank: Beat | None})``, then ``("results", list)`` or ``("error", exception)``."""

TICK = 0.05  # seconds between two questions whether the job is to be stopped


class Zygote:
    """The caller's side: one process, one job at a time."""

    def __init__(self) -> None:
        """Start the process; it goes on importing while the caller does other work."""
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        with theirs:
            number = theirs.fileno()
            serve = f"import sys; sys.path[:] = {sys.path!r}; from {__package__} import zygote; zygote.serve({number})"
            # A group of its own: Ctrl-C in a terminal is for the caller, which ends the job in order.
            self._process = subprocess.Popen(
                [sys.executable, "-c", serve], pass_fds=[number], stdin=subprocess.DEVNULL, process_group=0
            )

    def start(self, job: forked.Job, place: forked.Place | None = None) -> None:
        """Begin ``forked.run``, or ``run_part``, in the zygote, with the caller's environment and import path."""
        try:
            self._connection.send((sys.path, dataclasses.replace(job, env={**os.environ, **job.env}), place))
        except BrokenPipeError:
            raise self._lost() from None

    def receive(self) -> Message:
        """What it says next; waits for it."""
        try:
            message: Message = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._lost() from None
        return message

    def fileno(self) -> int:
        """To wait on."""
        return self._connection.fileno()

    def release(self) -> None:
        """Let it wait for the next job; it has ended this one."""
        _idle.append(self)

    def stop(self) -> None:
        """Let it end its ranks and itself; ``close`` waits for that."""
        self._connection.close()

    def close(self, grace: float = 0.0) -> None:
        """Let it end its ranks and itself, within the grace that its ranks get and two seconds more."""
        self._connection.close()
        try:
            self._process.wait(grace + 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _lost(self) -> RankFailed:
        return RankFailed(
            f"process {self._process.pid}, which forks the ranks, ended on its own ({self._process.wait()})",
            "if it wrote no error above, the host may have run out of memory: ask for fewer ranks",
        )


_idle: list[Zygote] = []
# A forked child of this process must not send jobs to its parent's zygotes, nor keep their connections open.
os.register_at_fork(after_in_child=_idle.clear)


def warm_up() -> None:
    """Start a zygote unless one is waiting."""
    if not _idle:
        _idle.append(Zygote())


def take() -> Zygote:
    """A waiting zygote, or a new one."""
    return _idle.pop() if _idle else Zygote()


def run(
    job: forked.Job,
    log: Callable[[str], None],
    stopped: Callable[[], bool],
    place: forked.Place | None = None,
    beats: Callable[[Any], None] = lambda beats: None,
) -> list[Any]:
    """``forked.run``, or ``run_part`` of a ``place``, in a zygote, which then waits for the next job."""
    zygote = take()
    try:
        zygote.start(job, place)
        while True:
            while not ready([zygote], TICK):
                if stopped():
                    raise RankFailed("the job was stopped", AGAIN)
            kind, value = zygote.receive()
            if kind == "line":
                log(value)
            elif kind == "beats":
                beats(value)
            else:
                break
    except BaseException:
        zygote.close(job.grace)
        raise
    zygote.release()
    if kind == "error":
        raise value
    results: list[Any] = value
    return results


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


def serve(descriptor: int) -> None:
    """The zygote's side: import what ranks need, then run one job after the other until the caller has gone."""
    for name in ("tensorflow", "keras", "horovod.tensorflow"):
        importlib.import_module(name)
    # Else each collection in a rank, and Keras asks for two of them, walks all of this and copies the pages it marks.
    gc.freeze()
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            sys.path[:], job, place = connection.recv()
            try:
                # The caller says nothing while a job runs, so anything to be read is its end closing.
                line, beats = (partial(_say, connection, kind) for kind in ("line", "beats"))
                closed = partial(connection.poll, 0)
                answer: Message = (
                    "results",
                    forked.run_part(job, place, line, closed, beats) if place else forked.run(job, line, closed),
                )
            except Exception as error:
                answer = ("error", error)
            connection.send(answer)


def _say(connection: Connection, kind: str, value: Any) -> None:
    connection.send((kind, value))
