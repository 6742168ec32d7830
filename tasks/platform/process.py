"""One background process of the platform: started in its own session, remembered on disk, ended with all it started.

A record names the process by pid *and* start time, so a pid that the system gave to somebody else is never signalled.
Two things make an end complete. The session holds every process that the service started, whatever group it moved to
(Airflow gives each task a group of its own). A mark in the environment holds those that left the session as well; it
cannot be the only one, because Airflow's task supervisors let nobody but root read their environment.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from tasks.core.errors import UpdraftError

MARK = "UPDRAFT_SERVICE"
"""The environment variable that names the service a process belongs to, and the home of its platform."""

START_TIME_TOLERANCE = 2.0
"""Seconds: the kernel reports a start relative to boot, and the boot time it reports moves with the clock."""


@dataclass(frozen=True)
class Service:
    """How to start one part of the platform, and how to see that it is well."""

    name: str
    command: tuple[str, ...]
    env: Callable[[], Mapping[str, str]] = dict
    """Makes the whole environment of the process, when it is started: it may hold secrets, which are made by then."""
    cwd: Path = field(default_factory=Path.cwd)
    host: str = "127.0.0.1"
    port: int | None = None
    """The port it listens on, if it does."""
    port_setting: str = ""
    """The setting that changes the port, for the message when it is taken."""
    health: str = ""
    """The URL that answers 200 when it is well."""
    component: str = ""
    """Where ``health`` answers for several parts in JSON: the entry with this one's ``status`` and last heartbeat."""
    stops_last: bool = False
    """Others report to it while they end."""


@dataclass(frozen=True)
class Record:
    """A started process, as it is remembered between commands."""

    name: str
    pid: int
    started: float
    boot: float
    """When process 1 started: it tells one boot, or one container, from the next."""
    mark: str
    port: int | None = None

    @classmethod
    def load(cls, path: Path) -> "Record | None":
        """The record in ``path``; None when there is none, or when it was cut off while it was written."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def save(self, path: Path) -> None:
        """Write the record to ``path`` at once: a reader sees the old one or the new one."""
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(path)


def launch(service: Service, mark: str, log: Path) -> Record:
    """Start ``service`` in a new session, its output appended to ``log``, all its processes carrying ``mark``."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            service.command,
            # Programs that set their title write over their environment unless they are asked not to.
            env={**service.env(), MARK: mark, "SPT_NOENV": "1"},
            cwd=service.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Record(service.name, process.pid, _started(process.pid) or 0.0, _started(1) or 0.0, mark, service.port)


def alive(record: Record) -> bool:
    """Whether the recorded process still runs and is the one that was started."""
    with contextlib.suppress(psutil.Error):
        return _close(_started(record.pid), record.started) and _living(psutil.Process(record.pid))
    return False


def members(records: Sequence[Record]) -> list[psutil.Process]:
    """Every living process of the services."""
    marks = {record.mark for record in records}
    sessions = {record.pid for record in records if _owns_session(record)}
    return [
        process
        for process in psutil.process_iter()
        if _living(process) and (_mark(process) in marks or _session(process.pid) in sessions)
    ]


def end(records: Sequence[Record], grace: float = 10.0) -> None:
    """End every process of the services: TERM, and KILL to those left behind, or left after ``grace`` seconds.

    TERM goes to each service's own group, as from a terminal. A task, in a group of its own, is told by the process
    that supervises it: told directly, with its children, it could take the death of a child for the child's result.

    Raises:
        UpdraftError: the system did not end a process even so.
    """
    _signal(_in_own_group(records), signal.SIGTERM)
    deadline = time.monotonic() + grace
    while _in_own_group(records) and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(100):
        left = members(records)
        if not left:
            return
        _signal(left, signal.SIGKILL)
        time.sleep(0.05)
    pids = ",".join(str(process.pid) for process in left)
    raise UpdraftError(
        f"the system does not end process {pids}", f"see what it waits for: ps -o pid,stat,wchan -p {pids}"
    )


def holder(port: int) -> str:
    """Who listens on ``port``: ``pid 71 (python -m http.server)``, or nothing where the system does not say."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"pid {connection.pid} ({command[:100]})"
    return ""


def free(host: str, port: int) -> bool:
    """Whether a service could listen on ``host:port`` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _living(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.is_running()
        # Our own child counts as a process until its exit status is collected.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    return False


def _started(pid: int) -> float | None:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).create_time()
    return None


def _close(time_a: float | None, time_b: float) -> bool:
    return time_a is not None and abs(time_a - time_b) <= START_TIME_TOLERANCE


def _owns_session(record: Record) -> bool:
    """Whether a session of the record's number is its own, also where its leader is gone.

    While one process of a session lives, its number is given to no other; after a boot all numbers are given anew.
    """
    started = _started(record.pid)
    return _close(_started(1), record.boot) and (started is None or _close(started, record.started))


def _session(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return None


def _group(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return None


def _mark(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(MARK, "")
    return ""


def _in_own_group(records: Sequence[Record]) -> list[psutil.Process]:
    groups = {record.pid for record in records}
    return [process for process in members(records) if _group(process.pid) in groups]


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
