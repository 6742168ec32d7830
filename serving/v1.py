"""The platform's own protocol: ``POST /v1/{project}/predict``, ``POST /v1/{project}/feedback``, ``GET /v1/{project}``.

Bodies are read and checked here, not by a framework: a request's cost is its rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.errors import Problem, bad_image, bad_row
from serving.models import Live, Models, find
from serving.payload import read_images, read_json, read_rows
from serving.request_ids import REQUEST_ID
from tasks.runtime.baseline import watched
from tasks.runtime.images import BadImage
from tasks.runtime.instances import BadRow
from tasks.runtime.predictor import Inputs, Predictor
from tasks.runtime.requests import RequestLog

_FEEDBACK_BYTES = 64 * 1024
_LARGEST = float(np.finfo(np.float32).max)


class V1:
    """The handlers over what they need.

    Args:
        models: where the live ones are looked up.
        log: gets every prediction and feedback.
    """

    def __init__(self, models: Models, log: RequestLog) -> None:
        self._models, self._log = models, log

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/v1/{project}", self.describe, methods=["GET"]),
            Route("/v1/{project}/predict", self.predict, methods=["POST"]),
            Route("/v1/{project}/feedback", self.feedback, methods=["POST"]),
        ]

    async def describe(self, request: Request) -> Response:
        """The project's live model."""
        live = find(self._models, request)
        signature = live.predictor.signature
        description = {
            "project": signature.project,
            "task": signature.task,
            "version": live.version,
            "since": live.since.isoformat(timespec="seconds"),
            "classes": signature.classes,
            "image": signature.image and signature.image.model_dump(),
            "columns": [column.model_dump() for column in signature.columns],
            "metrics": live.metrics,
        }
        return JSONResponse(description)

    async def predict(self, request: Request) -> Response:
        """Labels and probabilities, or numbers, of the images or rows sent."""
        live = find(self._models, request)
        limit = live.predictor.signature.max_body_kib * 1024
        table = live.predictor.signature.image is None
        given = await (read_rows if table else read_images)(request, limit)
        # In a thread, so that one large request does not hold up the others, nor the health checks.
        inputs, found = await anyio.to_thread.run_sync(_run, live.predictor, given)
        predictions = [_prediction(live.predictor, row) for row in found]
        self._record(request, live, inputs, predictions)
        answer = {
            "project": live.predictor.signature.project,
            "version": live.version,
            "request_id": request.state.request_id,
            "predictions": predictions,
        }
        return JSONResponse(answer)

    async def feedback(self, request: Request) -> Response:
        """The true label of an earlier request, for the log."""
        live = find(self._models, request)
        value = await read_json(request, _FEEDBACK_BYTES)
        about, label = value.get("request_id"), value.get("label")
        _check_feedback(live.predictor, about, label)
        project = live.predictor.signature.project
        self._log.append(project, {"kind": "feedback", "request_id": about, "label": label})
        return JSONResponse({"project": project, "request_id": about, "accepted": True}, 202)

    def _record(self, request: Request, live: Live, inputs: Inputs, predictions: Sequence[Mapping[str, Any]]) -> None:
        features = watched(live.predictor.signature.features, inputs.features)
        for index, prediction in enumerate(predictions):
            record = {
                "kind": "prediction",
                "request_id": request.state.request_id,
                "index": index,
                "version": live.version,
                **{name: prediction[name] for name in ("label", "probability", "value") if name in prediction},
                "features": {group: values[index] for group, values in features.items()},
            }
            self._log.append(live.predictor.signature.project, record)


def _run(predictor: Predictor, given: Sequence[Any]) -> tuple[Inputs, np.ndarray]:
    prepare = _prepare_rows if predictor.signature.image is None else _prepare_images
    inputs = prepare(predictor, given)
    return inputs, predictor.predict(inputs)


def _prepare_images(predictor: Predictor, images: Sequence[bytes]) -> Inputs:
    rows = []
    for index, data in enumerate(images):
        try:
            rows.append(predictor.prepare(data))
        except BadImage as error:
            raise bad_image(error, index) from None
    return Inputs.join(rows)


def _prepare_rows(predictor: Predictor, rows: Sequence[Mapping[str, Any]]) -> Inputs:
    try:
        return predictor.prepare_rows(rows)
    except BadRow as error:
        raise bad_row(error) from None


def _check_feedback(predictor: Predictor, about: Any, label: Any) -> None:
    """Refuses what cannot be the truth about an earlier request."""
    numbers = predictor.is_regression
    # Not isinstance: to Python, true is the number 1.
    fits = type(label) in (int, float) and abs(label) <= _LARGEST if numbers else isinstance(label, str)
    if not isinstance(about, str) or not REQUEST_ID.fullmatch(about) or not fits:
        shown = "<true number>" if numbers else '"<true label>"'
        raise Problem(400, "bad_feedback", f'Send {{"request_id": "<of the prediction>", "label": {shown}}}.')
    if not numbers and label not in predictor.classes:
        known = ", ".join(predictor.classes[:20])
        raise Problem(422, "unknown_label", f"{label[:80]!r} is no label of this project. Known: {known}.")


def _prediction(predictor: Predictor, found: np.ndarray) -> dict[str, Any]:
    """The answer for a row: its classes by probability, float32 (classes,), or its number, (1,)."""
    if predictor.is_regression:
        return {"value": float(found[0])}
    order = np.argsort(-found, kind="stable")[: predictor.signature.top_k]
    top = [{"label": predictor.classes[n], "probability": float(found[n])} for n in order]
    return {**top[0], "top": top}
