"""The processes of one job: forked into one process group, heard line by line, watched, and ended together."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import os
import pickle
import selectors
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tasks.core.errors import RankFailed

TICK = 0.05  # seconds between looks at the clock, at ``stopped`` and at processes that wrote nothing
LAST_LINES = 12
PR_SET_PDEATHSIG = 1

_inherited: list[Any] = []
"""The parent's stream objects, kept in a rank: collecting one that owns its descriptor (an Airflow task's does) would
close the rank's own stdout."""


@dataclass
class Rank:
    """One process, what it has said so far, and how it ended (an exit code, or minus the signal's number)."""

    index: int
    pid: int
    output: int
    report: int
    reported: bytearray = field(default_factory=bytearray)
    partial: bytes = b""
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def ended(self) -> int | None:
        """How the process ended, or None. It is not reaped: its id, which names the process group, must stay taken."""
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def failed_at(self) -> float:
        """When its function raised; at once for other ends, last for an abort: gloo aborts when it loses a peer."""
        code = self.ended()
        if code == 1 and self.reported:
            return pickle.loads(self.reported)
        return math.inf if code == -signal.SIGABRT else 0.0


class Ranks:
    """A group of forked ranks; ``end`` must follow, whatever happened."""

    def __init__(self, log: Callable[[str], None]) -> None:
        """Every line that a rank writes goes to ``log``, with the rank's number before it."""
        self._log = log
        self._ranks: list[Rank] = []
        self._selector = selectors.DefaultSelector()

    def start(self, body: Callable[[], Any]) -> None:
        """Fork the next rank; it calls ``body``, whose picklable result is its result, and ends."""
        output, report = os.pipe(), os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # what is buffered would be written twice
        parent, leader = os.getpid(), self._ranks[0].pid if self._ranks else 0
        pid = os.fork()
        if pid == 0:
            _become_rank(body, parent, leader, output[1], report[1])
        os.close(output[1])
        os.close(report[1])
        rank = Rank(len(self._ranks), pid, output[0], report[0])
        self._ranks.append(rank)
        os.setpgid(pid, leader)  # the rank does so too: whoever is first, it is done before anyone needs it
        for descriptor in (rank.output, rank.report):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, rank)

    def wait(self, timeout: float | None, stopped: Callable[[], bool]) -> None:
        """Return when every rank has ended well; raise ``RankFailed`` if one has not, out of time, or when stopped."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while running := self._running():
            self._hear(TICK)
            self._raise_first_failure()
            names = ", ".join(str(rank.index) for rank in running)
            if stopped():
                raise RankFailed(f"the job was stopped while rank(s) {names} ran", "start it again to go on")
            if time.monotonic() > deadline:
                message = f"the job ran out of its {timeout:g} seconds while rank(s) {names} ran"
                raise RankFailed(message + self._quoted(running[0]), "allow it more time, or give it less work")
        self._raise_first_failure()

    def end(self, grace: float) -> None:
        """End what still runs, with all that the ranks started: SIGTERM, SIGKILL after ``grace`` seconds."""
        try:
            if self._running():
                self._signal(signal.SIGTERM)
            deadline = time.monotonic() + grace
            while self._running() and time.monotonic() < deadline:
                self._hear(TICK)
        finally:
            self._signal(signal.SIGKILL)
            for rank in self._ranks:
                os.waitpid(rank.pid, 0)
            self._let_go()

    def results(self) -> list[Any]:
        """What each rank returned, in rank order; for ranks that have all ended well."""
        return [pickle.loads(rank.reported) for rank in self._ranks]

    def _running(self) -> list[Rank]:
        return [rank for rank in self._ranks if rank.ended() is None]

    def _raise_first_failure(self) -> None:
        failed = [rank for rank in self._ranks if rank.ended()]
        if not failed:
            return
        for rank in failed:
            self._read(rank, rank.report)
            self._read(rank, rank.output)
        rank = min(failed, key=Rank.failed_at)
        code = rank.ended() or 0
        how = f"ended with exit code {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"
        fix = "mend what the rank's last lines name, then start the job again"
        if code == -signal.SIGKILL:
            fix = "if the host ran out of memory, ask for a smaller batch or fewer ranks; then start the job again"
        raise RankFailed(f"rank {rank.index} of {len(self._ranks)} {how}{self._quoted(rank)}", fix)

    def _quoted(self, rank: Rank) -> str:
        return "".join(f"\n  [rank {rank.index}] {line}" for line in rank.last_lines)

    def _hear(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            self._read(key.data, key.fd, most=1)

    def _read(self, rank: Rank, descriptor: int, most: float = math.inf) -> None:
        """Take what a rank has written to one of its pipes, in at most ``most`` pieces."""
        while most > 0 and descriptor in self._selector.get_map():
            most -= 1
            try:
                piece = os.read(descriptor, 1 << 16)
            except BlockingIOError:
                return
            if not piece:
                self._selector.unregister(descriptor)
            if descriptor == rank.report:
                rank.reported += piece
            else:
                self._tell(rank, piece)

    def _tell(self, rank: Rank, piece: bytes) -> None:
        """Log whole lines; an empty piece is the end, which ends the last line too."""
        *lines, rank.partial = (rank.partial + (piece or b"\n" * bool(rank.partial))).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]  # a progress bar's last state
            rank.last_lines.append(text)
            self._log(f"[rank {rank.index}] {text}")

    def _signal(self, number: signal.Signals) -> None:
        if self._ranks:
            os.killpg(self._ranks[0].pid, number)

    def _let_go(self) -> None:
        try:
            for rank in self._ranks:
                self._read(rank, rank.output)
                self._read(rank, rank.report)
        finally:
            self._selector.close()
            for rank in self._ranks:
                os.close(rank.output)
                os.close(rank.report)


def _become_rank(body: Callable[[], Any], parent: int, leader: int, output: int, report: int) -> NoReturn:
    """The rank's whole life: leave the parent's streams and handlers, call ``body``, report, end without ``atexit``."""
    code = 1
    try:
        os.setpgid(0, leader)
        _leave_parent(parent, output)
        try:
            message = pickle.dumps(body())
            code = 0
        except BaseException:
            message = pickle.dumps(time.monotonic())
            traceback.print_exc()
        with os.fdopen(report, "wb") as pipe:
            pipe.write(message)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _leave_parent(parent: int, output: int) -> None:
    """Die with the parent, and share none of its streams, log handlers and signal handlers."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above
    for caught in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(caught, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _inherited.extend((sys.stdout, sys.stderr))
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(output, number)
        stream = os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        setattr(sys, name, stream)
    os.close(output)
    logging.root.handlers[:] = [logging.StreamHandler(sys.stderr)]
