"""Run a function as the ranks of one Horovod job: rendezvous, processes, logs, failures, clean ends.

Ranks are forked from a process that has imported TensorFlow and never run it, so that a job starts in a second instead
of one import per rank: from the calling process if it is in that state, otherwise from a zygote, a child kept for it.
If ``UPDRAFT_HOSTS`` names other hosts, the agent on each of them forks that host's ranks from a zygote of its own.

However the job ends, no rank outlives it. The first rank that fails, the time limit, ``stopped``, or an exception
raised within ``launch`` (Ctrl-C, a signal handler's) ends all of them: SIGTERM, then SIGKILL after a grace. If the
caller itself is killed, the kernel kills the ranks forked from it (PR_SET_PDEATHSIG); a zygote sees its connection
close and ends its own, and so does an agent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.training.jobs import forked, hosts, zygote


def launch(
    target: str,
    payload: Any,
    *,
    ranks: int,
    timeout: float | None = None,
    log: Callable[[str], None] = print,
    env: Mapping[str, str] | None = None,
    grace: float = 5.0,
    stall: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """Call ``target`` with ``payload`` in every rank of a new Horovod job and return the results in rank order.

    The function calls ``hvd.init()`` and seeds its random generators itself. ``atexit`` handlers do not run in a rank.

    Args:
        target: the function, as ``package.module:function``.
        payload: its one argument; must pickle, as must what it returns. Results pass through processes without
            TensorFlow: plain values serve best.
        ranks: how many processes; one rank is a job like any other.
        timeout: seconds until the job is ended as failed; None for no limit.
        log: receives each line that a rank writes to stdout or stderr, as ``[rank 1] line``.
        env: variables of the ranks, over the caller's. Unless they or the caller's environment say otherwise, the ranks
            share the cores (``TF_NUM_INTRAOP_THREADS``, ``TF_NUM_INTEROP_THREADS``).
        grace: seconds between SIGTERM and SIGKILL when the job is ended early.
        stall: seconds that a rank may go without a beat (``heartbeat.Beat``, ``pulse.beat``); None for no limit.
        stopped: asked many times a second; when it says True the job is ended. For an operator's ``on_kill``, which
            runs in a signal handler and can only set a flag, such as a ``threading.Event`` whose ``is_set`` this is.

    Raises:
        UpdraftError: the one that a rank raised.
        RankRaised: a rank raised another error; its last lines are quoted.
        OutOfMemory: a rank ran out of memory: it raised that, or the kernel killed it for that.
        Preempted: a rank, or an agent, got a SIGTERM from outside the job.
        Stalled: a rank made no step for ``stall`` seconds.
        HostLost: a host does not answer, or no longer does.
        RankFailed: of these the parent; and a rank died otherwise, the time ran out, or the job was stopped.
        BadInput: there is no such function, less than one rank was asked for, or more than the hosts have slots.
    """
    if ranks < 1:
        raise BadInput(f"a Horovod job of {ranks} ranks", "ask for one rank or more")
    forked.resolve(target)
    job = forked.Job(target, payload, ranks, timeout, dict(env or {}), grace, stall)
    slots = settings().slots
    if slots and set(parts := hosts.assign(slots, ranks)) != {hosts.LOCALHOST}:
        return hosts.run(job, parts, settings(), log, stopped)
    inherits_imports = "tensorflow" in sys.modules and forked.fork_is_safe()
    return forked.run(job, log, stopped) if inherits_imports else zygote.run(job, log, stopped)


def warm_up() -> None:
    """Start a zygote now, so that its imports overlap other work: for a process that will run TensorFlow itself."""
    zygote.warm_up()
