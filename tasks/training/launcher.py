"""Run a function as the ranks of one Horovod job on this host: rendezvous, processes, logs, failures, clean ends.

Ranks are forked from a process that has imported TensorFlow and never run it, so that a job starts in a second instead
of one import per rank: from the calling process if it is in that state, otherwise from a zygote, a child kept for it.

However the job ends, no rank outlives it. The first rank that fails, the time limit, ``stopped``, or an exception
raised within ``launch`` (Ctrl-C, a signal handler's) ends all of them: SIGTERM, then SIGKILL after a grace. If the
caller itself is killed, the kernel kills the ranks forked from it (PR_SET_PDEATHSIG); a zygote sees its connection
close and ends its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tasks.core.errors import BadInput
from tasks.training import forked, zygote


def launch(
    target: str,
    payload: Any,
    *,
    ranks: int,
    timeout: float | None = None,
    log: Callable[[str], None] = print,
    env: Mapping[str, str] | None = None,
    grace: float = 5.0,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """Call ``target`` with ``payload`` in every rank of a new Horovod job and return the results in rank order.

    The function calls ``hvd.init()`` and seeds its random generators itself. ``atexit`` handlers do not run in a rank.

    Args:
        target: the function, as ``package.module:function``.
        payload: its one argument; must pickle, as must what it returns.
        ranks: how many processes; one rank is a job like any other.
        timeout: seconds until the job is ended as failed; None for no limit.
        log: receives each line that a rank writes to stdout or stderr, as ``[rank 1] line``.
        env: variables of the ranks, over the caller's. Unless they or the caller's environment say otherwise, the ranks
            share the cores (``TF_NUM_INTRAOP_THREADS``, ``TF_NUM_INTEROP_THREADS``).
        grace: seconds between SIGTERM and SIGKILL when the job is ended early.
        stopped: asked many times a second; when it says True the job is ended. For an operator's ``on_kill``, which
            runs in a signal handler and can only set a flag, such as a ``threading.Event`` whose ``is_set`` this is.

    Raises:
        RankFailed: a rank raised or died (the first one is named), or the time ran out, or the job was stopped.
        BadInput: there is no such function, or less than one rank was asked for.
    """
    if ranks < 1:
        raise BadInput(f"a Horovod job of {ranks} ranks", "ask for one rank or more")
    forked.resolve(target)
    job = forked.Job(target, payload, ranks, timeout, dict(env or {}), grace)
    inherits_imports = "tensorflow" in sys.modules and forked.fork_is_safe()
    return forked.run(job, log, stopped) if inherits_imports else zygote.run(job, log, stopped)


def warm_up() -> None:
    """Start a zygote now, so that its imports overlap other work: for a process that will run TensorFlow itself."""
    zygote.warm_up()
