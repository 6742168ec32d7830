"""Processes of a test's own that begin within a second: forked from one that has imported what stages need, no more.

That one is a fresh interpreter, not a fork of the test's: whatever the test has run or imported is not in them.
"""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import IO, Any

from tasks.core.settings import settings

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tasks.training.tune", "tests.digits"])


@dataclass(frozen=True)
class Child:
    """A process, and what it writes to stdout and stderr, line by line."""

    process: BaseProcess
    output: IO[str]

    def wait(self) -> tuple[int, str]:
        """Its exit code, and what it wrote that nobody has read yet."""
        with self.output:
            written = self.output.read()
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode, written


def start(body: Callable[..., object], *arguments: Any, **environment: str) -> Child:
    """Calls ``body``, which other processes can import, in a process of its own.

    Args:
        environment: variables over those of this process.
    """
    reading, writing = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_run, args=(writing, {**os.environ, **environment}, body, arguments))
    process.start()
    writing.close()
    with reading:
        return Child(process, os.fdopen(os.dup(reading.fileno())))


def _run(
    writing: Connection, environment: Mapping[str, str], body: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    for stream in (1, 2):
        os.dup2(writing.fileno(), stream)
    writing.close()
    os.environ.clear()
    os.environ.update(environment)
    settings.cache_clear()
    body(*arguments)
