"""The request log: what the endpoint was asked and answered, for drift and for feedback to meet predictions.

One JSON line per row or feedback under ``HOME/requests/<project>/date=YYYY-MM-DD/``, files of a bounded size for each
worker process. Lines are written by a thread, off the requests' path, a tenth of a second after the first of them;
images, texts and API keys are never logged. The thread also forgets: days past a project's ``serving.log_days``, and
the oldest files where all of them together are more than ``UPDRAFT_REQUEST_LOG_MIB``.
"""

import json
import logging
import os
import queue
import shutil
import socket
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tasks.core.settings import settings
from tasks.runtime.baseline import DECIMALS

log = logging.getLogger("updraft.requests")

Record = Mapping[str, Any]

_Item = tuple[str, str, bytes | Record]
"""A project, the day, and a line or what is to be one."""

FORGET_SECONDS = 60.0
"""Between two looks at what is too old or too much."""

_GATHER_SECONDS = 0.1
"""From the first record to writing it and those that came since: a file is opened for all of them, not for each."""

_ROUND = 256
"""Records written at a time: what one of them adds to a file past its size."""

_PARTS = 20
"""The cap is shared by this many files at least, so that forgetting one forgets little."""


def sampled(request_id: str, share: float) -> bool:
    """Whether a request is one of the ``share`` that is logged: always the same answer for an id, on every worker.

    So the rows of a request stay together, and feedback is kept where the prediction it is about was.
    """
    return share >= 1 or zlib.crc32(request_id.encode()) < share * 2**32


class RequestLog:
    """Appends records from a bounded queue; when the disk cannot keep up, records are dropped and counted.

    Args:
        home: UPDRAFT_HOME.
        capacity: records waiting at most.
        cap_mib: size of all logs under ``home`` together, of every project and worker.
    """

    def __init__(self, home: Path, capacity: int = 10_000, cap_mib: float = 1024) -> None:
        self.dropped = 0
        self._home, self._cap = home, int(cap_mib * 2**20)
        self._days: dict[str, int] = {}
        self._part, self._look = 0, 0.0
        self._capacity = capacity
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)

    def start(self) -> None:
        """Starts the writer."""
        self._thread.start()

    def stop(self) -> None:
        """Writes what waits and ends the writer."""
        self._stopped.set()
        self._queue.put(None)
        self._thread.join()

    def append(self, project: str, record: Record, days: int | None = None, *, is_one_of_many: bool = False) -> None:
        """Queues one record, stamped with the present time; NumPy vectors in it are rounded and listed.

        Its line is made here: 25 us, for which a thread would keep the interpreter from requests for longer.

        Args:
            days: how long this project's records are kept; None: as told before, or until the cap is reached.
            is_one_of_many: the line is left to the thread, for all of them together would take their time.
        """
        if days is not None:
            self._days[project] = days
        if self._queue.qsize() < self._capacity:
            stamped = {"time": datetime.now(UTC).isoformat(), **record}
            self._queue.put((project, stamped["time"][:10], stamped if is_one_of_many else _line(stamped)))
            return
        self.dropped += 1
        if self.dropped % 1000 == 1:
            log.warning("The request log cannot keep up: %d records dropped so far.", self.dropped)

    def _write_all(self) -> None:
        stopped = False
        while not stopped:
            waiting = [self._queue.get()]
            if self._queue.qsize() < _ROUND:
                self._stopped.wait(_GATHER_SECONDS)
            while len(waiting) < _ROUND and not self._queue.empty():
                waiting.append(self._queue.get())
            stopped = any(item is None for item in waiting)
            try:
                self._write([item for item in waiting if item])
            except OSError as error:
                log.warning("%d requests could not be logged: %s", len(waiting), error)
            if stopped or time.monotonic() >= self._look:
                self._look = time.monotonic() + FORGET_SECONDS
                self._forget()

    def _write(self, items: list[_Item]) -> None:
        lines = defaultdict(list)
        for project, day, told in items:
            lines[_folder(self._home, project, day)].append(told if isinstance(told, bytes) else _line(told))
        for folder, found in lines.items():
            folder.mkdir(parents=True, exist_ok=True)
            with self._file(folder).open("ab") as file:
                file.write(b"\n".join(found) + b"\n")

    def _forget(self) -> None:
        try:
            _forget_days(self._home, dict(self._days))
            _forget_bytes(self._home, self._cap)
        except OSError as error:
            log.warning("The request log cannot be shortened: %s", error)

    def _file(self, folder: Path) -> Path:
        """This worker's file of the folder: the next one, where the present one has its size."""
        name = f"{socket.gethostname()}-{os.getpid()}"
        path = folder / f"{name}-{self._part:04}.jsonl"
        if not path.exists() or path.stat().st_size < self._cap // _PARTS:
            return path
        self._part += 1
        return folder / f"{name}-{self._part:04}.jsonl"


def read_requests(project: str, start: datetime, end: datetime) -> Iterator[Record]:
    """Records of ``start`` <= time < ``end``, by file; a line that a killed worker left unfinished is passed over."""
    for day in _days(start.astimezone(UTC).date(), end.astimezone(UTC).date()):
        for path in sorted(_folder(settings().home, project, day.isoformat()).glob("*.jsonl")):
            with suppress(FileNotFoundError):  # a worker has just forgotten it
                yield from (r for r in _records(path) if start <= datetime.fromisoformat(r["time"]) < end)


def _records(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                log.info("%s has an unfinished line.", path)


def _forget_days(home: Path, days: Mapping[str, int]) -> None:
    """Removes the days that a project no longer keeps. Several workers may do so at once."""
    today = datetime.now(UTC).date()
    for project, kept in days.items():
        oldest = f"date={today - timedelta(days=kept - 1)}"
        for folder in (home / "requests" / project).glob("date=*"):
            if folder.name < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def _forget_bytes(home: Path, cap: int) -> None:
    """Removes the oldest files, by their last line, until the rest fits."""
    found = [(path, status) for path in (home / "requests").glob("*/date=*/*.jsonl") if (status := _status(path))]
    total = sum(status.st_size for _, status in found)
    for path, status in sorted(found, key=lambda pair: pair[1].st_mtime):
        if total <= cap:
            return
        path.unlink(missing_ok=True)
        total -= status.st_size


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # another worker forgot it first
        return None


def _folder(home: Path, project: str, day: str) -> Path:
    return home / "requests" / project / f"date={day}"


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _line(record: Record) -> bytes:
    try:
        return orjson.dumps(record, default=_plain)
    except TypeError:  # half a surrogate pair or a number of more than 64 bits, both of which JSON can spell
        return json.dumps(record, default=_plain).encode()


def _plain(value: np.ndarray) -> list[Any]:
    rounded = value if value.dtype == object else np.round(value.astype(np.float64), DECIMALS)
    return rounded.tolist()
