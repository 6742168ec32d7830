"""How far a rank is, in memory that it shares with the process that watches it: writing it costs no system call."""

from __future__ import annotations

import mmap
import struct
import time
from dataclasses import dataclass

_RECORD = struct.Struct("qqd")  # epoch, step, seconds on the clock that all processes of a host share

_own: Pulse | None = None
"""This rank's; None in a process that nobody watches."""


@dataclass(frozen=True)
class Beat:
    """The last step that a rank began (epoch and step from 0; -1: none yet), and how many seconds ago."""

    epoch: int
    step: int
    age: float


class Pulse:
    """One rank's memory, made before the fork that makes the rank."""

    def __init__(self) -> None:
        """The clock runs from here, so that a rank which never begins a step is found too."""
        self._memory = mmap.mmap(-1, _RECORD.size)
        self.write(-1, -1)

    def write(self, epoch: int, step: int) -> None:
        """Say that this step begins now."""
        _RECORD.pack_into(self._memory, 0, epoch, step, time.monotonic())

    def read(self) -> Beat:
        """What was written last."""
        epoch, step, at = _RECORD.unpack_from(self._memory)
        return Beat(epoch, step, time.monotonic() - at)


def adopt(pulse: Pulse) -> None:
    """Make this the pulse of the rank that runs in this process."""
    global _own
    _own = pulse


def beat(epoch: int, step: int) -> None:
    """Say that this rank begins a step (both counted from 0); does nothing in a process that is no rank."""
    if _own:
        _own.write(epoch, step)
