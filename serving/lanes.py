"""What waits for one model: prepared rows, predicted together in a thread or on the event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.memory import Loaded
from tasks.runtime.predictor import Inputs, Predictor

Done = asyncio.Future[tuple[Inputs, np.ndarray]]
"""Where a request waits for its rows and their predictions."""


@dataclass(frozen=True)
class Job:
    """Prepared rows, and who waits for their predictions."""

    inputs: Inputs
    done: Done


class Lane:
    """What waits for one model; who enters while nobody empties it has to.

    Attributes:
        requests: that have begun and have no answer yet; the event loop's own count.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._draining = False

    def enter(self, job: Job) -> bool:
        """Queues the job; whether the caller is to empty the lane."""
        with self._lock:
            self._jobs.append(job)
            idle, self._draining = not self._draining, True
            return idle

    def drain(self, loaded: Loaded) -> None:
        """Predicts until nothing waits, in a thread."""
        while jobs := self._next(loaded.batch):
            post(jobs[0].done.get_loop(), predicted(loaded.predictor, jobs))

    def flush(self, loaded: Loaded) -> None:
        """Predicts until nothing waits, on the event loop, which goes on with other things after each call."""
        if jobs := self._next(loaded.batch):
            settle(predicted(loaded.predictor, jobs))
            jobs[0].done.get_loop().call_soon(self.flush, loaded)

    def _next(self, most: int) -> list[Job]:
        """The jobs of the next call, up to ``most`` rows of several of them, none if the lane is empty; those that
        nobody waits for any more are dropped.
        """
        with self._lock:
            taken: list[Job] = []
            rows = 0
            while self._jobs and (not taken or rows + len(self._jobs[0].inputs) <= most):
                job = self._jobs.popleft()
                if not job.done.done():
                    taken.append(job)
                    rows += len(job.inputs)
            self._draining = bool(taken)
            return taken


Answers = list[tuple["asyncio.Future[Any]", Any]]
"""Futures, each with its result or with what it raises."""


def predicted(predictor: Predictor, jobs: Sequence[Job]) -> Answers:
    """The jobs' futures with their predictions. Where rows together cannot be predicted, each job is tried alone."""
    try:
        found = predictor.predict(jobs[0].inputs if len(jobs) == 1 else Inputs.join([job.inputs for job in jobs]))
    except Exception as error:
        if len(jobs) == 1:
            return [(jobs[0].done, error)]
        return [answer for job in jobs for answer in predicted(predictor, [job])]
    if len(jobs) == 1:
        return [(jobs[0].done, (jobs[0].inputs, found))]
    ends = np.cumsum([len(job.inputs) for job in jobs])
    parts = np.split(found, ends[:-1])
    return [(job.done, (job.inputs, part)) for job, part in zip(jobs, parts, strict=True)]


def post(loop: asyncio.AbstractEventLoop, answers: Answers) -> None:
    """From a thread to the event loop: wakes those who wait, all with one call."""
    with suppress(RuntimeError):  # The server has stopped.
        loop.call_soon_threadsafe(settle, answers)


def settle(answers: Answers) -> None:
    """On the event loop: wakes those who wait still."""
    for done, answer in answers:
        if done.done():
            continue
        if isinstance(answer, BaseException):
            done.set_exception(answer)
        else:
            done.set_result(answer)
