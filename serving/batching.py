"""Requests to predictions: each prepared by itself, and predicted together with whatever else is waiting.

No request is held back for company. A thread that has prepared its rows and finds the model idle predicts at once; what
others have prepared meanwhile goes into the next call, as many rows together as pay for this model (`serving.memory`).
So a model runs in one thread at a time, and a request crosses over to the threads and back only once.

Where a model takes a millisecond or two, that crossing costs more than the model, and threads that take turns at the
interpreter's lock make others wait longer than it would. Small requests to such a model stay on the event loop: those
that it finds at one look are prepared one after the other and then predicted together. Large ones have their threads.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from serving.errors import Problem
from serving.given import Preparable
from serving.lanes import Done, Job, Lane, post, predicted, settle
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
        self._lanes: WeakKeyDictionary[Live, Lane] = WeakKeyDictionary()

    def waiting(self) -> int:
        """Requests that have begun and have no answer yet."""
        return sum(lane.requests for lane in self._lanes.values())

    async def run(self, live: Live, rows: Preparable) -> tuple[Inputs, np.ndarray]:
        """The rows, prepared, and their predictions, see `Predictor.predict`.

        Raises:
            Problem: 429 too many wait, 503 it took longer than the project allows, or the model cannot be loaded.
        """
        lane = self._lane(live)

        def begin(done: Done) -> None:
            loaded = live.model.at_hand()
            inputs = rows.at_once(loaded.predictor, loaded.at_once) if loaded and loaded.at_once else None
            if loaded is None or inputs is None:
                self._threads.submit(_guarded, work, done)
            elif lane.enter(Job(inputs, done)):
                done.get_loop().call_soon(lane.flush, loaded)

        def work(done: Done) -> None:
            loaded = _loaded(live)
            job = Job(rows.prepare(loaded.predictor), done)
            if loaded.at_once:
                # The lane is the event loop's, which a large call would keep from all others.
                post(done.get_loop(), predicted(loaded.predictor, [job]))
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
            post(done.get_loop(), [(done, work(_loaded(live).predictor))])

        return await self._within(live, self._lane(live), lambda done: threads.submit(_guarded, run, done))

    async def _within(self, live: Live, lane: Lane, begin: Callable[["asyncio.Future[T]"], object]) -> T:
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

    def _lane(self, live: Live) -> Lane:
        lane = self._lanes.get(live)
        if lane is None:
            lane = self._lanes[live] = Lane()
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
        post(done.get_loop(), [(done, error)])


def _expire(done: "asyncio.Future[Any]", live: Live) -> None:
    settle([(done, timed_out(live))])
