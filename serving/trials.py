"""Who answers a request while a challenger is tried, and what the trial is judged by.

Every request of a trial leaves a record: the version that was asked, how many seconds it took, its answers, and the
code of what failed.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request

from serving.answers import predictions_of
from serving.batching import MIRRORS, Batcher
from serving.errors import Problem
from serving.given import Preparable
from serving.models import Challenger, Live, Models, find
from tasks.runtime.predictor import Inputs, Predictor

_FORM = (400, 408, 413, 415)
"""What was wrong before any version had a part in it."""

_ROWS = 100
"""Answers of a request that its record keeps."""

T = TypeVar("T")

_Prepare = Callable[[Predictor], Inputs]


class Trials:
    """Chooses between champion and challenger, and has the shadow asked.

    Args:
        models: where both are looked up.
        batcher: predicts.
    """

    def __init__(self, models: Models, batcher: Batcher) -> None:
        self._models, self._batcher = models, batcher
        self._mirrors: set[asyncio.Task[None]] = set()

    def choose(self, request: Request, version: str | None = None) -> Live:
        """Who answers the request: always the same for its id, on every worker.

        Args:
            version: the one that the request insists on.

        Raises:
            Problem: 404 there is no such project, or this version of it does not answer; 503 it has none yet.
        """
        live, challenger = find(self._models, request), self._challenger(request)
        if version is not None:
            known = [live, *([challenger.live] if challenger else [])]
            live = _named(known, version)
        elif challenger and challenger.answers(request.state.request_id):
            live = challenger.live
        request.state.version = live.version
        return live

    def turn(self, request: Request, version: str | None = None) -> "Turn":
        """The request's prediction, as a part of the trial; for the rest see `choose`."""
        # A request that insists on a version says nothing about a share of the others.
        challenger = self._challenger(request) if version is None else None
        return Turn(self, request.state.request_id, self.choose(request, version), challenger)

    async def run(self, live: Live, rows: Preparable) -> tuple[Inputs, np.ndarray]:
        """See `Batcher.run`."""
        return await self._batcher.run(live, rows)

    async def call(self, live: Live, work: Callable[[Predictor], T]) -> T:
        """See `Batcher.call`."""
        return await self._batcher.call(live, work)

    def mirror(self, shadow: Challenger, prepare: _Prepare) -> None:
        """Asks the shadow the same, aside of the requests, unless it is busy."""
        if len(self._mirrors) >= MIRRORS:
            return
        task = asyncio.get_running_loop().create_task(self._mirrored(shadow, prepare))
        self._mirrors.add(task)
        task.add_done_callback(self._mirrors.discard)

    async def _mirrored(self, shadow: Challenger, prepare: _Prepare) -> None:
        live, started, failed, answers = shadow.live, time.perf_counter(), "", []
        try:
            found = await self._batcher.mirror(live, lambda predictor: predictor.predict(prepare(predictor)))
            answers = predictions_of(live.signature, found, 1)
        except Exception as error:
            failed = _code(error)
        shadow.keep(_record(live, time.perf_counter() - started, answers, failed))

    def _challenger(self, request: Request) -> Challenger | None:
        return self._models.challenger(request.path_params["project"])


class Turn:
    """One request for a prediction, as a context: what it raises counts against the version that was asked.

    Attributes:
        live: the version that answers.
        answers: as `serving.answers.predictions_of` gives them; told by whoever makes them.
    """

    def __init__(self, trials: Trials, request_id: str, live: Live, challenger: Challenger | None) -> None:
        self.live = live
        self.answers: Sequence[Mapping[str, Any]] = ()
        self._trials, self._id, self._challenger = trials, request_id, challenger
        self._rows: Preparable | None = None
        self._view, self._seconds = "", 0.0

    async def run(self, rows: Preparable, view: str = "") -> tuple[Inputs, np.ndarray]:
        """The rows and their predictions; see `Batcher.run`.

        Args:
            view: where the rows come from the online store: another version's features may stand in another one.
        """
        self._rows, self._view, started = rows, view, time.perf_counter()
        try:
            return await self._trials.run(self.live, rows)
        finally:
            self._seconds = time.perf_counter() - started

    def __enter__(self) -> Self:
        """Begins."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keeps record and has the shadow asked, while there is a trial."""
        challenger = self._challenger
        if challenger is None or not _counts(error):
            return
        failed = _code(error) if error else ""
        challenger.keep(_record(self.live, self._seconds, self.answers, failed))
        fits = self._view in ("", challenger.live.signature.view)
        if error is None and self._rows and fits and challenger.mode == "shadow" and challenger.takes(self._id):
            self._trials.mirror(challenger, self._rows.prepare)


def _record(live: Live, seconds: float, answers: Sequence[Mapping[str, Any]], failed: str) -> dict[str, Any]:
    kept = [
        {name: each[name] for name in ("label", "probability", "value") if name in each} for each in answers[:_ROWS]
    ]
    return {"version": live.version, "seconds": round(seconds, 6), "failed": failed, "answers": kept}


def _counts(error: BaseException | None) -> bool:
    """Whether the version asked had a part in what happened: not where the caller left, or sent what nothing takes."""
    if error is None:
        return True
    known = error.status if isinstance(error, Problem) else 500
    return isinstance(error, Exception) and known not in _FORM and not isinstance(error, ClientDisconnect)


def _code(error: BaseException) -> str:
    return error.code if isinstance(error, Problem) else type(error).__name__


def _named(known: Sequence[Live], version: str) -> Live:
    for live in known:
        if str(live.version) == version:
            return live
    there = " and ".join(str(live.version) for live in known)
    message = f"{known[0].signature.project} answers with version {there} alone."
    raise Problem(404, "unknown_version", message)
