"""A child process that has imported TensorFlow and never runs it, to fork ranks where the caller itself no longer can.

The two talk through one connection. The caller sends its import path and a job; the zygote sends ``(kind, value)``: the
ranks' lines while the job runs, then its results or its error. The caller closing its end, or dying, ends the job and
the zygote.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tasks.core.errors import RankFailed
from tasks.training import forked

TICK = 0.05  # seconds between two questions whether the job is to be stopped


class Zygote:
    """The caller's side: one process, one job at a time."""

    def __init__(self) -> None:
        """Start the process; it goes on importing while the caller does other work."""
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        with theirs:
            number = theirs.fileno()
            serve = f"import sys; sys.path[:] = {sys.path!r}; from tasks.training import zygote; zygote.serve({number})"
            # A group of its own: Ctrl-C in a terminal is for the caller, which ends the job in order.
            self._process = subprocess.Popen(
                [sys.executable, "-c", serve], pass_fds=[number], stdin=subprocess.DEVNULL, process_group=0
            )

    def run(self, job: forked.Job, log: Callable[[str], None], stopped: Callable[[], bool]) -> list[Any]:
        """``forked.run`` in the zygote, with the caller's environment and import path."""
        try:
            self._send((sys.path, dataclasses.replace(job, env={**os.environ, **job.env})))
            while (answer := self._receive(stopped))[0] == "line":
                log(answer[1])
        except BaseException:
            self.close(job.grace)
            raise
        _idle.append(self)
        kind, value = answer
        if kind == "error":
            raise value
        return value

    def close(self, grace: float = 0.0) -> None:
        """Let it end its ranks and itself, within the grace that its ranks get and two seconds more."""
        self._connection.close()
        try:
            self._process.wait(grace + 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, request: tuple[list[str], forked.Job]) -> None:
        try:
            self._connection.send(request)
        except BrokenPipeError:
            raise self._lost() from None

    def _receive(self, stopped: Callable[[], bool]) -> tuple[str, Any]:
        try:
            while not self._connection.poll(TICK):
                if stopped():
                    raise RankFailed("the job was stopped", "start it again to go on")
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._lost() from None

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


def run(job: forked.Job, log: Callable[[str], None], stopped: Callable[[], bool]) -> list[Any]:
    """``forked.run`` in a waiting zygote, or in a new one, which then waits for the next job."""
    zygote = _idle.pop() if _idle else Zygote()
    return zygote.run(job, log, stopped)


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


def serve(descriptor: int) -> None:
    """The zygote's side: import what ranks need, then run one job after the other until the caller has gone."""
    for name in ("tensorflow", "keras", "horovod.tensorflow"):
        importlib.import_module(name)
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            sys.path[:], job = connection.recv()
            try:
                # The caller says nothing while a job runs, so anything to be read is its end closing.
                results = forked.run(job, lambda line: connection.send(("line", line)), lambda: connection.poll(0))
                answer: tuple[str, Any] = ("results", results)
            except Exception as error:
                answer = ("error", error)
            connection.send(answer)
