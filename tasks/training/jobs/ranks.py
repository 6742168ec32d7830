"""The processes of one job: forked into one process group, heard line by line, watched, and ended together."""

from __future__ import annotations

import math
import os
import pickle
import selectors
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.core.errors import RankFailed, UpdraftError
from tasks.training.jobs import memory, pulse
from tasks.training.jobs.child import STACKS, become_rank
from tasks.training.jobs.failures import AGAIN, End
from tasks.training.jobs.pulse import Beat, Pulse

TICK = 0.05  # seconds between looks at the clock, at ``stopped`` and at processes that wrote nothing
BEAT = 0.5  # seconds between reports of how far the ranks are
STACKS_AT = 0.8  # share of the time for a step after which it is worth knowing where a rank stands
SETTLE = 2.0  # seconds in which a cause may still be seen after its consequence: a rank that lost another one
LAST_LINES = 12


@dataclass
class Rank:
    """One process, what it has said so far, and how it ended (an exit code, or minus the signal's number)."""

    index: int
    pid: int
    output: int
    report: int
    pulse: Pulse
    reported: bytearray = field(default_factory=bytearray)
    partial: bytes = b""
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def ended(self) -> int | None:
        """How the process ended, or None. It is not reaped: its id, which names the process group, must stay taken."""
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def end(self) -> End:
        """Why it ended, as far as is known; for one that has ended badly."""
        code = self.ended() or 0
        return End(code, pickle.loads(self.reported) if code == 1 and self.reported else None)


class Ranks:
    """A group of forked ranks; ``end`` must follow, whatever happened."""

    def __init__(self, log: Callable[[str], None], names: Sequence[str], first: int = 0) -> None:
        """Every line that a rank writes goes to ``log``, with the rank's number before it.

        Args:
            log: receives the lines.
            names: what to call each of them in a message.
            first: number of the first of them; those before it are other hosts'.
        """
        self._log, self._names, self._first = log, names, first
        self._memory_kills = memory.kills()
        self._failed_since = math.inf
        self._shown = False
        self._ranks: list[Rank] = []
        self._selector = selectors.DefaultSelector()

    def start(self, body: Callable[[], Any]) -> None:
        """Fork the next rank; it calls ``body``, whose picklable result is its result, and ends."""
        output, report, beats = os.pipe(), os.pipe(), Pulse()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # what is buffered would be written twice
        parent, leader = os.getpid(), self._ranks[0].pid if self._ranks else 0
        pid = os.fork()
        if pid == 0:
            pulse.adopt(beats)
            become_rank(body, parent, leader, output[1], report[1])
        os.close(output[1])
        os.close(report[1])
        rank = Rank(self._first + len(self._ranks), pid, output[0], report[0], beats)
        self._ranks.append(rank)
        os.setpgid(pid, leader)  # the rank does so too: whoever is first, it is done before anyone needs it
        for descriptor in (rank.output, rank.report):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, rank)

    def wait(
        self,
        timeout: float | None,
        stopped: Callable[[], bool],
        beats: Callable[[Mapping[int, Beat | None]], None] = lambda beats: None,
        stall: float | None = None,
    ) -> None:
        """Return when every rank has ended well.

        Args:
            timeout: seconds that they have; None for no limit.
            stopped: asked at each tick.
            beats: told twice a second how far each rank is, None for one that has ended; may raise.
            stall: seconds after which ``beats`` will; shortly before, the ranks write where they are.

        Raises:
            RankFailed: one has ended badly, is out of time, or was stopped.
            UpdraftError: the one that a rank has raised.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        next_beats = 0.0
        while running := self._running():
            self._hear(TICK)
            self._raise_first_failure()
            names = ", ".join(str(rank.index) for rank in running)
            if stopped():
                raise RankFailed(f"the job was stopped while rank(s) {names} ran", AGAIN)
            if time.monotonic() > deadline:
                message = f"the job ran out of its {timeout:g} seconds while rank(s) {names} ran"
                raise RankFailed(message + self._quoted(running[0]), "allow it more time, or give it less work")
            if time.monotonic() >= next_beats:
                next_beats = time.monotonic() + BEAT
                self._show_stacks(running, stall)
                beats({rank.index: None if rank.ended() is not None else rank.pulse.read() for rank in self._ranks})
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
        """Raise what explains the end of the job, once it is known or nothing more is to be expected."""
        failed = [rank for rank in self._ranks if rank.ended()]
        if not failed:
            return
        self._failed_since = min(self._failed_since, time.monotonic())
        for rank in failed:
            self._read(rank, rank.report)
            self._read(rank, rank.output)
        rank = min(failed, key=lambda each: each.end().order())
        if math.isinf(rank.end().order()) and self._running() and time.monotonic() < self._failed_since + SETTLE:
            return
        raise self._error(rank)

    def _show_stacks(self, running: list[Rank], stall: float | None) -> None:
        if self._shown or stall is None or max(rank.pulse.read().age for rank in running) < STACKS_AT * stall:
            return
        self._shown = True
        for rank in running:
            os.kill(rank.pid, STACKS)

    def _error(self, rank: Rank) -> UpdraftError:
        return rank.end().error(self._names[rank.index - self._first], self._quoted(rank), self._memory_kills)

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
