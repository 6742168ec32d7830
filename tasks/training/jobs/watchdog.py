"""Finds the rank that keeps the others waiting."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence

from tasks.core.errors import Stalled
from tasks.training.jobs.pulse import Beat

_COORDINATOR = "[rank 0] "
_MISSING = re.compile(r"\[rank 0\] (\d+)!?: \[")


class Watchdog:
    """Ends a job in which some rank has begun no step for ``seconds`` (None: never).

    In a job that stands still all ranks are silent: they wait for one another. The one to name is the one that Horovod
    itself misses (rank 0 writes who has not joined a reduction), otherwise the one that is behind, otherwise the one
    that has been silent for longest.
    """

    def __init__(self, seconds: float | None, names: Sequence[str]) -> None:
        """Watch over the ranks of these names, in rank order."""
        self._seconds, self._names = seconds, names
        # It looks every so often, and for a cached tensor only at the fourth look is it sure.
        self._check = max(1, int((seconds or 0) / 5))
        self._beats: dict[int, tuple[float, Beat]] = {}
        self._missing: list[int] = []
        self._missed_at = -math.inf
        self._listing = False

    def environment(self) -> dict[str, str]:
        """What makes Horovod write who is missing, before the time is over."""
        return {"HOROVOD_STALL_CHECK_TIME_SECONDS": str(self._check)} if self._seconds else {}

    def heard(self, log: Callable[[str], None]) -> Callable[[str], None]:
        """``log``, with this one listening."""

        def hear(line: str) -> None:
            self.hear(line)
            log(line)

        return hear

    def hear(self, line: str) -> None:
        """Look for Horovod's list of missing ranks: a line ``Missing ranks:``, then one for each."""
        if not line.startswith(_COORDINATOR):
            return
        if line.endswith("Missing ranks:"):
            self._missing, self._missed_at, self._listing = [], time.monotonic(), True
        elif self._listing and (found := _MISSING.match(line)):
            self._missing.append(int(found[1]))
        else:
            self._listing = False

    def note(self, beats: Mapping[int, Beat | None]) -> None:
        """Take the beats of ranks, by rank; None for one that has ended.

        Raises:
            Stalled: the oldest is too old.
        """
        now = time.monotonic()
        for rank, beat in beats.items():
            if beat is None:
                self._beats.pop(rank, None)
            else:
                self._beats[rank] = now - beat.age, beat
        if self._seconds and self._beats and now - min(at for at, _ in self._beats.values()) > self._seconds:
            raise self._stalled(now)

    def _progress(self, rank: int) -> tuple[int, int, float]:
        at, beat = self._beats[rank]
        return beat.epoch, beat.step, at

    def _stalled(self, now: float) -> Stalled:
        known = self._missing if now - self._missed_at < 2 * self._check + 1 else []
        suspects = [rank for rank in known if rank in self._beats] or list(self._beats)
        rank = min(suspects, key=self._progress)
        at, beat = self._beats[rank]
        where = "before its first step" if beat.epoch < 0 else f"at step {beat.step + 1} of epoch {beat.epoch + 1}"
        return Stalled(
            f"{self._names[rank]} has made no step for {now - at:.0f} seconds: it stands {where}",
            "its lines show where it stands: it may wait for its data, a lock, a full disk; "
            "if its steps take that long, raise training.stall_minutes",
        )
