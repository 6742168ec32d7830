"""The platform's own protocol: predictions, explanations and feedback of ``/v1/{project}``.

Bodies are read and checked here, not by a framework: a request's cost is its rows.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.answers import chosen_label, chosen_top_k, feedback_of, predictions_of
from serving.description import describe
from serving.entities import Entities
from serving.errors import Problem
from serving.models import Live, Models, find
from serving.payload import read_explainable, read_given, read_json
from serving.recording import record
from serving.trials import Trials
from tasks.runtime.requests import RequestLog, sampled

MAX_EXPLAINED = 8
"""Rows of a request: each one costs hundreds of predictions."""

_FEEDBACK_BYTES = 64 * 1024


class V1:
    """The handlers over what they need.

    Args:
        models: where the live ones are looked up.
        log: gets predictions and feedback.
        trials: choose the version, and predict and explain with it.
    """

    def __init__(self, models: Models, log: RequestLog, trials: Trials) -> None:
        self._models, self._log, self._trials = models, log, trials

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/v1/{project}", self.describe, methods=["GET"]),
            Route("/v1/{project}/predict", self.predict, methods=["POST"]),
            Route("/v1/{project}/explain", self.explain, methods=["POST"]),
            Route("/v1/{project}/feedback", self.feedback, methods=["POST"]),
        ]

    async def describe(self, request: Request) -> Response:
        """The project's live model."""
        return JSONResponse(describe(find(self._models, request)))

    async def predict(self, request: Request) -> Response:
        """Labels and probabilities, or numbers, of the images, rows or entities sent."""
        with self._trials.turn(request) as turn:
            live = turn.live
            top_k = chosen_top_k(request, live.signature)
            given = await read_given(request, live.signature)
            view = live.signature.view if isinstance(given, Entities) else ""
            inputs, found = await turn.run(given, view)
            turn.answers = answers = predictions_of(live.signature, found, top_k)
        record(self._log, request.state.request_id, live, inputs, answers)
        predictions = [{**given.about(index), **answer} for index, answer in enumerate(answers)]
        said = _said(request, live, "predictions", predictions)
        return Response(orjson.dumps(said), media_type="application/json")

    async def explain(self, request: Request) -> Response:
        """What in each image or row speaks for the answer and what against it."""
        live = self._trials.choose(request)
        label = chosen_label(request, live.signature)
        given = await read_explainable(request, live.signature)
        if len(given) > MAX_EXPLAINED:
            message = f"{len(given)} rows; send at most {MAX_EXPLAINED} to be explained in one request."
            raise Problem(413, "too_many_to_explain", message)
        explain = partial(given.explain, baseline=live.baseline, label=label)
        said = _said(request, live, "explanations", await self._trials.call(live, explain))
        try:
            return JSONResponse(said)
        except ValueError:
            # JSON has no word for what is not finite.
            message = "The model gives no number where these rows differ from its training rows by so much."
            raise Problem(422, "not_a_number", message) from None

    async def feedback(self, request: Request) -> Response:
        """The true label of an earlier request, for the log."""
        live = find(self._models, request)
        told = feedback_of(await read_json(request, _FEEDBACK_BYTES), live.signature)
        project = live.signature.project
        if sampled(told["request_id"], live.signature.log_share):
            self._log.append(project, {"kind": "feedback", **told}, days=live.signature.log_days)
        return JSONResponse({"project": project, **told, "accepted": True}, 202)


def _said(request: Request, live: Live, name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer about the rows, which are counted."""
    request.state.rows = len(rows)
    said = {"project": live.signature.project, "version": live.version, "request_id": request.state.request_id}
    return {**said, name: rows}
