"""Starting, stopping and watching a set of background services under one home folder.

``HOME/logs/<name>.log`` has a service's output, ``HOME/run/<name>.json`` remembers its process, and ``HOME/run/lock``
lets one command at a time change anything.
"""

import contextlib
import fcntl
import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from pathlib import Path

from tasks.core.errors import BadInput, UpdraftError
from tasks.platform.process import Record, Service, alive, end, free, holder, launch, members

Progress = Callable[[str, str], None]
"""Called with the name of a service and what it does now: ``starting``, ``healthy after 7.2 s``, ``stopped``."""

POLL_SECONDS = 0.25

HEALTH_SECONDS = 15.0
"""How long a service may take to say that it is well; the first answer may have much to import."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine itself, whatever proxy the environment names. It loads no certificates: it is asked often."""

LOG_LINES = 15
"""How many of its last log lines the message about a service that failed shows."""


@dataclass(frozen=True)
class Status:
    """How one service is."""

    name: str
    running: bool
    healthy: bool
    pid: int | None
    port: int | None
    log: Path


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home's lock: a second command waits until the first one is done.

    Raises:
        BadInput: the home cannot be written to.
    """
    try:
        _run(home).mkdir(parents=True, exist_ok=True)
        file = (_run(home) / "lock").open("w")
    except OSError as error:
        raise BadInput(
            f"{home} cannot be written to: {error.strerror}", "set UPDRAFT_HOME to another folder"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def missing(services: Sequence[Service], home: Path) -> list[Service]:
    """Those of ``services`` that have to be started: never started, or ended since.

    Raises:
        BadInput: one runs, but on another port than it should; or a port that one needs is taken. Nothing was changed.
    """
    absent = []
    for service in services:
        record = Record.load(_record(home, service.name))
        if record is None or not alive(record):
            absent.append(service)
        elif record.port != service.port:
            raise BadInput(
                f"{service.name} already runs on port {record.port}, and {service.port_setting} says {service.port}",
                f"run `updraft down` first, or set {service.port_setting}={record.port}",
            )
    for service in absent:
        _check_port(service, home)
    return absent


def start(services: Sequence[Service], home: Path, progress: Progress, timeout: float) -> None:
    """Start ``services`` all at once and return when every one is healthy.

    Raises:
        UpdraftError: one ended, or is not healthy after ``timeout`` seconds; all of ``services`` were stopped again.
    """
    started = time.monotonic()
    records: dict[str, Record] = {}
    try:
        for service in services:
            progress(service.name, "starting")
            records[service.name] = _start(service, home, progress)
        waiting = list(services)
        while waiting:
            for service in list(waiting):
                if healthy(service, records[service.name]):
                    waiting.remove(service)
                    progress(service.name, f"healthy after {time.monotonic() - started:.1f} s")
                else:
                    _check_start(service, records[service.name], home, started + timeout)
            time.sleep(POLL_SECONDS)
    except BaseException:
        _stop([service.name for service in services], home, progress, grace=5.0)
        raise


def stop(services: Sequence[Service], home: Path, progress: Progress, grace: float) -> list[str]:
    """Stop everything that was ever started in ``home``, and every process that it started.

    Returns:
        The names of what had a process to end.
    """
    last = {service.name for service in services if service.stops_last}
    names = sorted(path.stem for path in _run(home).glob("*.json"))
    return [
        *_stop([name for name in names if name not in last], home, progress, grace),
        *_stop([name for name in names if name in last], home, progress, grace),
    ]


def inspect(services: Sequence[Service], home: Path) -> list[Status]:
    """How each service is now; changes nothing."""
    return [_inspect(service, Record.load(_record(home, service.name)), home) for service in services]


def healthy(service: Service, record: Record) -> bool:
    """Whether the service, started as ``record`` says, answers that it is well; true where it has no way to answer."""
    if not service.health:
        return True
    try:
        with _DIRECT.open(service.health, timeout=HEALTH_SECONDS) as answer:
            if not service.component:
                return True
            part = json.load(answer)[service.component]
            beat = datetime.fromisoformat(part[f"latest_{service.component}_heartbeat"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return False
    # A heart that beat before this process started was another's.
    return part["status"] == "healthy" and beat.timestamp() >= record.started


def log_path(home: Path, service: Service) -> Path:
    """Where the output of ``service`` goes."""
    return home / "logs" / f"{service.name}.log"


def _inspect(service: Service, record: Record | None, home: Path) -> Status:
    log = log_path(home, service)
    if record is None or not alive(record):
        return Status(service.name, False, False, None, service.port, log)
    return Status(service.name, True, healthy(service, record), record.pid, record.port, log)


def _start(service: Service, home: Path, progress: Progress) -> Record:
    _stop([service.name], home, progress, grace=5.0)  # What an earlier one that died may have left behind.
    log = log_path(home, service)
    for folder in (log.parent, _run(home)):
        folder.mkdir(parents=True, exist_ok=True)
    record = launch(service, f"{home}#{service.name}", log)
    record.save(_record(home, service.name))
    return record


def _stop(names: Sequence[str], home: Path, progress: Progress, grace: float) -> list[str]:
    records = [record for name in names if (record := Record.load(_record(home, name)))]
    running = [record for record in records if members([record])]
    for record in running:
        progress(record.name, "stopping")
    end(running, grace)
    for name in names:
        _record(home, name).unlink(missing_ok=True)
    for record in running:
        progress(record.name, "stopped")
    return [record.name for record in running]


def _check_port(service: Service, home: Path) -> None:
    if service.port is None or free(service.host, service.port):
        return
    record = Record.load(_record(home, service.name))
    if record is not None and members([record]):
        return  # Ours: left by a service that died; it is ended before the new one starts.
    who = holder(service.port)
    raise BadInput(
        f"port {service.port}, which {service.name} needs, is taken{' by ' + who if who else ''}",
        f"end that program, or choose another port: {service.port_setting}=...",
    )


def _check_start(service: Service, record: Record, home: Path, deadline: float) -> None:
    if not alive(record):
        what = "ended while it started"
    elif time.monotonic() > deadline:
        what = "did not become healthy in time"
    else:
        return
    log = log_path(home, service)
    last = "\n".join(f"  | {line}" for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    raise UpdraftError(f"{service.name} {what}. Its last lines:\n{last}", f"read {log}")


def _run(home: Path) -> Path:
    return home / "run"


def _record(home: Path, name: str) -> Path:
    return _run(home) / f"{name}.json"
