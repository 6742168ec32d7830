"""How often a key may ask."""

import fcntl
import math
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

_TIME = struct.Struct("d")
_ROUNDING = 1e-6
"""Seconds: what adding up a minute's steps may be off by."""


class RateLimits:
    """How often each key may ask, counted over all workers of a home.

    The generic cell rate algorithm (ITU-T I.371): a key's whole state is the time at which it will have used up its
    allowance. These times, 8 bytes a key, stand in one file; a record lock around reading and writing one makes the
    count exact, costs microseconds, and ends with the process that holds it. A minute's allowance may be used at once.

    Args:
        path: the file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self, key: int, per_minute: int) -> int:
        """Takes one request out of the key's allowance: 0; or, where none is left, the whole seconds until one is."""
        place, step, now = key * _TIME.size, 60 / per_minute, time.monotonic()
        fcntl.lockf(self._file, fcntl.LOCK_EX, _TIME.size, place)
        try:
            stored = os.pread(self._file, _TIME.size, place)
            used_up = _TIME.unpack(stored)[0] if len(stored) == _TIME.size else 0.0
            # The clock starts again with the machine: what an earlier boot left cannot bind for longer than a minute.
            used_up = max(now, min(used_up, now + 60))
            if used_up + step > now + 60 + _ROUNDING:
                return math.ceil(used_up + step - now - 60)
            with suppress(OSError):  # a full disk limits nobody
                os.pwrite(self._file, _TIME.pack(used_up + step), place)
            return 0
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _TIME.size, place)
