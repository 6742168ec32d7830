"""Why a rank ended badly, so that what another try may mend is told apart from what it cannot."""

from __future__ import annotations

import math
import re
import signal
import time
from dataclasses import dataclass, field

from tasks.core.errors import OutOfMemory, PeerLost, Preempted, RankFailed, RankRaised, UpdraftError
from tasks.training.jobs import memory

_PEERS = re.compile(r"Horovod(Internal|Allreduce|Allgather|Broadcast)|Horovod has been shut down|gloo", re.IGNORECASE)
"""In what TensorFlow raises when a reduction cannot go on because another rank has left."""

SMALLER = "ask for a smaller batch, a smaller model or fewer ranks; then start the job again"
AGAIN = "start the job again: it goes on from the last checkpoint"
MEND = "mend what the rank's last lines name, then start the job again"


@dataclass(frozen=True)
class Failure:
    """What a rank reports when its function has raised; pickles.

    Attributes:
        kind: what the launcher is to raise.
        error: the error itself, if it is one that is meant for people.
    """

    kind: type[RankFailed] = RankRaised
    error: UpdraftError | None = None
    at: float = field(default_factory=time.monotonic)


def failure(error: BaseException) -> Failure:
    """Sorts what a rank's function raised; by name, since TensorFlow may not be there."""
    name = type(error).__name__
    if isinstance(error, UpdraftError):
        return Failure(error=error)
    if isinstance(error, MemoryError) or name == "ResourceExhaustedError":
        return Failure(OutOfMemory)
    if name == "HorovodInternalError" or (_of_tensorflow(error) and _PEERS.search(str(error))):
        return Failure(PeerLost)
    # A file system or a network may be well again the next time.
    return Failure(RankFailed if isinstance(error, OSError) else RankRaised)


def _of_tensorflow(error: BaseException) -> bool:
    return type(error).__module__.startswith("tensorflow")


@dataclass(frozen=True)
class End:
    """How a rank's process ended: its exit code or minus the signal's number, and its report if it wrote one."""

    code: int
    reported: Failure | None = None

    def order(self) -> float:
        """First the causes, in the order in which they came, then what a lost peer brings: an abort, or an error."""
        if self.reported:
            return math.inf if self.reported.kind is PeerLost else self.reported.at
        return math.inf if self.code == -signal.SIGABRT else 0.0

    def error(self, who: str, lines: str, memory_kills: int | None) -> UpdraftError:
        """What the launcher raises for it.

        Args:
            who: the rank, for the message.
            lines: the last that it wrote.
            memory_kills: how many processes of this cgroup the kernel had killed before the job.
        """
        if self.reported and self.reported.error:
            return self.reported.error
        if self.code == -signal.SIGTERM:
            return Preempted(f"{who} was ended by SIGTERM from outside{lines}", AGAIN)
        if self.code == -signal.SIGKILL:
            if memory_kills is not None and (memory.kills() or 0) > memory_kills:
                return OutOfMemory(f"{who} was killed by the kernel: the host's memory was not enough{lines}", SMALLER)
            return RankFailed(f"{who} was killed by SIGKILL{lines}", AGAIN)
        if self.code < 0:
            kind = PeerLost if self.code == -signal.SIGABRT else RankFailed
            return kind(f"{who} was killed by {signal.Signals(-self.code).name}{lines}", MEND)
        kind = self.reported.kind if self.reported else RankFailed
        fix = {OutOfMemory: SMALLER, PeerLost: AGAIN}.get(kind, MEND)
        return kind(f"{who} ended with exit code {self.code}{lines}", fix)
