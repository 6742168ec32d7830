"""What a forked process does to be a rank, and nothing of its parent."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from tasks.core.errors import UpdraftError
from tasks.training.jobs.failures import failure

STACKS = signal.SIGUSR1
"""Makes a rank write where each of its threads is."""

PR_SET_PDEATHSIG = 1

_inherited: list[Any] = []
"""The parent's stream objects, kept in a rank: collecting one that owns its descriptor (an Airflow task's does) would
close the rank's own stdout."""


def become_rank(body: Callable[[], Any], parent: int, leader: int, output: int, report: int) -> NoReturn:
    """The rank's whole life: leave the parent's streams and handlers, call ``body``, report, end without ``atexit``.

    Args:
        body: what the rank is there for; its result must pickle.
        parent: the process that forked it.
        leader: process that leads the ranks' group; 0: this one does.
        output: descriptor of the pipe for stdout and stderr.
        report: descriptor of the pipe for the pickled result, or `Failure`.
    """
    code = 1
    try:
        os.setpgid(0, leader)
        _leave_parent(parent, output)
        try:
            message = pickle.dumps(body())
            code = 0
        except BaseException as error:
            message = pickle.dumps(failure(error))
            if not isinstance(error, UpdraftError):  # that one is told by the launcher, in its own words
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
    faulthandler.register(STACKS)
