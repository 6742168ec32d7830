"""Every failure that Updraft expects, as one small tree.

A message says what happened, to what, and what to do next. The command line prints it without a stack trace and exits
with ``exit_code``; an Airflow task logs it and fails; the endpoint never shows one (it has its own error shape).
"""


class UpdraftError(Exception):
    """A failure with a cause a person can act on.

    Args:
        message: what happened, and to which file, field, stage or process.
        fix: what to do about it, as an instruction.
    """

    exit_code = 1

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message, fix)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}" if self.fix else self.message


class BadInput(UpdraftError):
    """What the person gave cannot be used: a spec, a setting, a source, a port, a missing tool. Exit code 2."""

    exit_code = 2


class StageFailed(UpdraftError):
    """A stage could not produce its artifact; nothing of it was published."""


class RankFailed(UpdraftError):
    """A rank of a Horovod job ended badly, or the job ran out of time; every rank was ended. Worth another try."""


class RankRaised(RankFailed):
    """The function that a rank ran raised an error nobody expected: a retry would meet it again."""


class OutOfMemory(RankFailed):
    """The memory of a host, of its cgroup or of a device was not enough."""


class Preempted(RankFailed):
    """Someone outside the job ended it with SIGTERM: the host is needed for something else, or goes away."""


class Stalled(RankFailed):
    """A rank has made no step for longer than the job allows."""


class PeerLost(RankFailed):
    """A rank lost its connection to the others: the consequence of another end, told only if that one is not known."""


class HostLost(RankFailed):
    """A host of a job does not answer."""


class Conflict(UpdraftError):
    """Another writer was first: a compare-and-swap found a value other than the one it was told to replace."""


class Refused(UpdraftError):
    """A check said no: a parity check, a read-back, a tolerated share that was passed."""


class NotPromoted(Refused):
    """Live requests said no, or too few of them came to say anything: the champion stays."""
