"""The request log: what the endpoint was asked and answered, for drift and for feedback to meet predictions.

One JSON line per row or feedback under ``HOME/requests/<project>/date=YYYY-MM-DD/``, one file per worker process.
Lines are written by a thread, off the requests' path; images and texts are never logged.
"""

import json
import logging
import math
import os
import queue
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.settings import settings
from tasks.runtime.baseline import DECIMALS

log = logging.getLogger("updraft.requests")

Record = Mapping[str, Any]


class RequestLog:
    """Appends records from a bounded queue; when the disk cannot keep up, records are dropped and counted.

    Args:
        home: UPDRAFT_HOME.
        capacity: records waiting at most.
    """

    def __init__(self, home: Path, capacity: int = 10_000) -> None:
        self.dropped = 0
        self._home = home
        self._queue: queue.Queue[tuple[str, Record] | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)

    def start(self) -> None:
        """Starts the writer."""
        self._thread.start()

    def stop(self) -> None:
        """Writes what waits and ends the writer."""
        self._queue.put(None)
        self._thread.join()

    def append(self, project: str, record: Record) -> None:
        """Queues one record, stamped with the present time; NumPy vectors in it are rounded and listed."""
        try:
            self._queue.put_nowait((project, {"time": datetime.now(UTC).isoformat(), **record}))
        except queue.Full:
            self.dropped += 1
            if self.dropped % 1000 == 1:
                log.warning("The request log cannot keep up: %d records dropped so far.", self.dropped)

    def _write_all(self) -> None:
        stopped = False
        while not stopped:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get())
            stopped = any(item is None for item in waiting)
            try:
                self._write([item for item in waiting if item])
            except OSError as error:
                log.warning("%d requests could not be logged: %s", len(waiting), error)

    def _write(self, items: list[tuple[str, Record]]) -> None:
        lines = defaultdict(list)
        for project, record in items:
            lines[_folder(self._home, project, record["time"][:10])].append(json.dumps(record, default=_plain))
        for folder, found in lines.items():
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{socket.gethostname()}-{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
                file.write("\n".join(found) + "\n")


def read_requests(project: str, start: datetime, end: datetime) -> Iterator[Record]:
    """Records of ``start`` <= time < ``end``, by file; a line that a killed worker left unfinished is passed over."""
    for day in _days(start.astimezone(UTC).date(), end.astimezone(UTC).date()):
        for path in sorted(_folder(settings().home, project, day.isoformat()).glob("*.jsonl")):
            yield from (r for r in _records(path) if start <= datetime.fromisoformat(r["time"]) < end)


def _records(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                log.info("%s has an unfinished line.", path)


def _folder(home: Path, project: str, day: str) -> Path:
    return home / "requests" / project / f"date={day}"


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _plain(value: np.ndarray) -> list[Any]:
    if value.dtype == object:
        return value.tolist()
    numbers = np.round(value.astype(np.float64), DECIMALS).tolist()
    return [None if math.isnan(number) else number for number in numbers]
