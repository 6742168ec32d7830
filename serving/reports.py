"""What this worker tells the registry, whatever machine it runs on: what it answers with, and what came of trials."""

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from serving.watching import Watcher
from tasks.core.registry import Batch, Registry, Worker

log = logging.getLogger("updraft.serving")

BEAT_SECONDS = 5.0
"""Between two signs of life of a worker with nothing new to say."""


@dataclass
class _Waiting:
    """Of one step of a trial: what is not in the registry yet."""

    records: list[Mapping[str, Any]] = field(default_factory=list)
    dropped: int = 0


class Reports(Watcher):
    """A thread that writes to the registry, once a second at most: no request waits for a database.

    Where the registry cannot keep up, records are dropped and counted; the next batch that gets there says how many.

    Args:
        address: of this endpoint, for people.
        seconds: between two writes.
        capacity: records that wait at most.
    """

    def __init__(self, registry: Registry, address: str, seconds: float = 1.0, capacity: int = 10_000) -> None:
        super().__init__("reports", seconds, "The registry does not take what this worker has to tell.")
        self._registry, self._capacity = registry, capacity
        self._name = uuid.uuid4().hex
        self._worker = Worker(address, {}, {})
        self._told, self._beat = self._worker, 0.0
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, datetime], _Waiting] = {}
        self._count = 0

    def stop(self) -> None:
        """Ends the thread; writes what waits, and that this worker has ended."""
        super().stop()
        self.refresh()
        try:
            self._registry.forget_worker(self._name)
        except Exception as error:
            log.warning("The registry cannot be told that this worker has ended. %s", error)

    def tell(self, versions: Mapping[str, int | str], challengers: Mapping[str, Mapping[str, Any]]) -> None:
        """Says what this worker answers with from now on, see `tasks.core.registry.Worker`."""
        self._worker = Worker(self._worker.address, dict(versions), dict(challengers))

    def add(self, project: str, step: datetime, record: Mapping[str, Any]) -> None:
        """Queues what became of a request of a trial.

        Args:
            step: see `tasks.core.registry.Batch`.
        """
        with self._lock:
            waiting = self._waiting.setdefault((project, step), _Waiting())
            if self._count >= self._capacity:
                waiting.dropped += 1
            else:
                waiting.records.append(record)
                self._count += 1

    def look(self) -> None:
        """Writes once. Where that fails, the next time says all that is so then, and how many records were dropped."""
        self._tell()
        self._keep()

    def _tell(self) -> None:
        worker = self._worker
        if worker != self._told or time.monotonic() >= self._beat:
            self._registry.tell_worker(self._name, worker)
            self._told, self._beat = worker, time.monotonic() + BEAT_SECONDS

    def _keep(self) -> None:
        with self._lock:
            steps = list(self._waiting)
        for project, step in steps:
            with self._lock:
                waiting = self._waiting.pop((project, step))
                self._count -= len(waiting.records)
            try:
                self._registry.keep_records(Batch(project, step, waiting.records, waiting.dropped))
            except Exception:
                with self._lock:
                    lost = waiting.dropped + len(waiting.records)
                    self._waiting.setdefault((project, step), _Waiting()).dropped += lost
                raise
