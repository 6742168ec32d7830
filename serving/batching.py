"""Requests to predictions: each prepared by itself, and predicted together with whatever else is waiting.

No request is held back for company. A thread that has prepared its rows and finds the model idle predicts at once; what
others have prepared meanwhile goes into the next call, as many rows together as pay for this model (`serving.memory`).
So a model runs in one thread at a time, and a request crosses over to the threads and back only once.

Where a model takes a millisecond or two, that crossing costs more than the model, and threads that take turns at the
interpreter's lock make others wait longer than it would. Small requests to such a model stay on the event loop: those
that it finds at one look are prepared one after the other and then predicted together. Large ones have their threads.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from serving.errors import Problem
from serving.memory import Loaded
from serving.models import Live
from tasks.core.errors import UpdraftError
from tasks.runtime.predictor import Inputs, Predictor

THREADS = 4
"""That decode and predict; more of them than a worker has cores wait for each other anyway."""

MIRRORS = 2
"""Requests that a worker asks a shadow at a time; those that come meanwhile are not mirrored."""

MAX_WAITING = 128
"""Requests to one model that have begun and have no answer yet, in one worker."""

RETRY_SECONDS = 1
"""After which a request that met a full queue may come again."""

T = TypeVar("T")


class Preparable(Protocol):
    """One or more rows as they were received."""

    def prepare(self, predictor: Predictor) -> Inputs:
        """What the graph takes; in a thread.

        Raises:
            Problem: one of them is none that the model takes.
        """
        ...

    def at_once(self, predictor: Predictor, most: int) -> Inputs | None:
        """The same on the event loop; None where it could take longer than some milliseconds.

        Args:
            most: rows that do not.

        Raises:
            Problem: see `prepare`.
        """
        ...


class Batcher:
    """The threads of a worker, and what waits for them.

    Args:
        most: requests to one model at a time; the next ones are refused.
    """

    def __init__(self, most: int = MAX_WAITING) -> None:
        self._most = most
        self._threads = ThreadPoolExecutor(THREADS, "predict")
        # What may take seconds, and shall not stand before predictions.
        self._aside = ThreadPoolExecutor(2, "aside")
        self._shadow = ThreadPoolExecutor(MIRRORS, "shadow")
        self._lanes: WeakKeyDictionary[Live, _Lane] = WeakKeyDictionary()

    def waiting(self) -> int:
        """Requests that have begun and have no answer yet."""
        return sum(lane.requests for lane in self._lanes.values())

    async def run(self, live: Live, rows: Preparable) -> tuple[Inputs, np.ndarray]:
        """The rows, prepared, and their predictions, see `Predictor.predict`.

        Raises:
            Problem: 429 too many wait, 503 it took longer than the project allows, or the model cannot be loaded.
        """
        lane = self._lane(live)

        def begin(done: _Done) -> None:
            loaded = live.model.at_hand()
            inputs = rows.at_once(loaded.predictor, loaded.at_once) if loaded and loaded.at_once else None
            if loaded is None or inputs is None:
                self._threads.submit(_guarded, work, done)
            elif lane.enter(_Job(inputs, done)):
                done.get_loop().call_soon(lane.flush, loaded)

        def work(done: _Done) -> None:
            loaded = _loaded(live)
            job = _Job(rows.prepare(loaded.predictor), done)
            if loaded.at_once:
                # The lane is the event loop's, which a large call would keep from all others.
                _post(done.get_loop(), _predicted(loaded.predictor, [job]))
            elif lane.enter(job):
                lane.drain(loaded)

        if live.model.loaded is None:
            await self.call(live, lambda predictor: None)
        return await self._within(live, lane, begin)

    async def call(self, live: Live, work: Callable[[Predictor], T]) -> T:
        """What ``work`` gives for the model, in a thread aside of the predictions.

        Raises:
            Problem: see `run`.
        """

        return await self._work(live, self._aside, work)

    async def mirror(self, live: Live, work: Callable[[Predictor], T]) -> T:
        """As `call`, in threads where no explanation is in the way."""
        return await self._work(live, self._shadow, work)

    async def _work(self, live: Live, threads: Executor, work: Callable[[Predictor], T]) -> T:
        def run(done: "asyncio.Future[T]") -> None:
            _post(done.get_loop(), [(done, work(_loaded(live).predictor))])

        return await self._within(live, self._lane(live), lambda done: threads.submit(_guarded, run, done))

    async def _within(self, live: Live, lane: "_Lane", begin: Callable[["asyncio.Future[T]"], object]) -> T:
        """What comes into the future that ``begin`` is told, unless the queue is full or the time is over."""
        if lane.requests >= self._most:
            raise overloaded(live)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        timer = loop.call_later(live.signature.timeout_seconds, _expire, done, live)
        lane.requests += 1
        try:
            begin(done)
            return await done
        finally:
            lane.requests -= 1
            timer.cancel()

    def _lane(self, live: Live) -> "_Lane":
        lane = self._lanes.get(live)
        if lane is None:
            lane = self._lanes[live] = _Lane()
        return lane


def overloaded(live: Live) -> Problem:
    """Too many requests wait for the model."""
    message = f"{live.signature.project} has as many requests as it can take. Send this one again in a moment."
    return Problem(429, "overloaded", message, retry_after=RETRY_SECONDS)


def timed_out(live: Live) -> Problem:
    """The request took longer than the project allows."""
    seconds = live.signature.timeout_seconds
    message = f"No answer within {seconds:g} s. Send fewer rows in a request, or send it again later."
    return Problem(503, "timeout", message, retry_after=RETRY_SECONDS)


_Done = asyncio.Future[tuple[Inputs, np.ndarray]]


@dataclass(frozen=True)
class _Job:
    """Prepared rows, and who waits for their predictions."""

    inputs: Inputs
    done: _Done


class _Lane:
    """What waits for one model; who enters while nobody empties it has to.

    Attributes:
        requests: that have begun and have no answer yet; the event loop's own count.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._draining = False

    def enter(self, job: _Job) -> bool:
        """Queues the job; whether the caller is to empty the lane."""
        with self._lock:
            self._jobs.append(job)
            idle, self._draining = not self._draining, True
            return idle

    def drain(self, loaded: Loaded) -> None:
        """Predicts until nothing waits, in a thread."""
        while jobs := self._next(loaded.batch):
            _post(jobs[0].done.get_loop(), _predicted(loaded.predictor, jobs))

    def flush(self, loaded: Loaded) -> None:
        """Predicts until nothing waits, on the event loop, which goes on with other things after each call."""
        if jobs := self._next(loaded.batch):
            _settle(_predicted(loaded.predictor, jobs))
            jobs[0].done.get_loop().call_soon(self.flush, loaded)

    def _next(self, most: int) -> list[_Job]:
        """The jobs of the next call, up to ``most`` rows of several of them, none if the lane is empty; those that
        nobody waits for any more are dropped.
        """
        with self._lock:
            taken: list[_Job] = []
            rows = 0
            while self._jobs and (not taken or rows + len(self._jobs[0].inputs) <= most):
                job = self._jobs.popleft()
                if not job.done.done():
                    taken.append(job)
                    rows += len(job.inputs)
            self._draining = bool(taken)
            return taken


_Answers = list[tuple["asyncio.Future[Any]", Any]]


def _predicted(predictor: Predictor, jobs: Sequence[_Job]) -> _Answers:
    """The jobs' futures with their predictions. Where rows together cannot be predicted, each job is tried alone."""
    try:
        found = predictor.predict(jobs[0].inputs if len(jobs) == 1 else Inputs.join([job.inputs for job in jobs]))
    except Exception as error:
        if len(jobs) == 1:
            return [(jobs[0].done, error)]
        return [answer for job in jobs for answer in _predicted(predictor, [job])]
    if len(jobs) == 1:
        return [(jobs[0].done, (jobs[0].inputs, found))]
    ends = np.cumsum([len(job.inputs) for job in jobs])
    parts = np.split(found, ends[:-1])
    return [(job.done, (job.inputs, part)) for job, part in zip(jobs, parts, strict=True)]


def _loaded(live: Live) -> Loaded:
    try:
        return live.model.get()
    except UpdraftError as error:
        raise Problem(503, "model_unavailable", f"The model cannot be loaded. {error.fix}") from error


def _guarded(work: Callable[["asyncio.Future[T]"], None], done: "asyncio.Future[T]") -> None:
    """In a thread: does the work unless nobody waits for it any more; what it raises, its future raises."""
    if done.done():
        return
    try:
        work(done)
    except BaseException as error:
        _post(done.get_loop(), [(done, error)])


def _post(loop: asyncio.AbstractEventLoop, answers: _Answers) -> None:
    """From a thread to the event loop: wakes those who wait, all with one call."""
    with suppress(RuntimeError):  # The server has stopped.
        loop.call_soon_threadsafe(_settle, answers)


def _expire(done: "asyncio.Future[Any]", live: Live) -> None:
    _settle([(done, timed_out(live))])


def _settle(answers: _Answers) -> None:
    for done, answer in answers:
        if done.done():
            continue
        if isinstance(answer, BaseException):
            done.set_exception(answer)
        else:
            done.set_result(answer)
