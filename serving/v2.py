"""The Open Inference Protocol, version 2, over HTTP: what clients of KServe, Triton and others speak.

A project is a model; its versions are the live one and the challenger, while it is tried. Images are the input
``image``: pixels, UINT8 [N, H, W, C], or files, BYTES [N] (base64 in JSON). Of a table each column is an input of [N].
Classes come as ``probabilities``, FP32 [N, classes], and ``label``, BYTES [N]; a regression's numbers as ``value``,
FP32 [N].
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.answers import predictions_of
from serving.errors import Problem
from serving.given import AT_ONCE_BYTES, Images, Rows
from serving.models import Live, Models, find
from serving.payload import MAX_IMAGES, MAX_ROWS, read_body
from serving.recording import record
from serving.request_ids import REQUEST_ID
from serving.tensors import Asked, read_asked, write_answer
from serving.trials import Trials
from tasks.runtime.predictor import Inputs, Predictor, Signature
from tasks.runtime.requests import RequestLog

_HEADER = "inference-header-content-length"
_COLUMNS = {"number": "FP64", "boolean": "BOOL"}
"""Type of a column to its datatype; the others are BYTES. Every datatype is read by what it holds."""


class V2:
    """The handlers over what they need.

    Args:
        models: where the live ones are looked up.
        log: gets predictions.
        trials: choose the version, and predict.
    """

    def __init__(self, models: Models, log: RequestLog, trials: Trials) -> None:
        self._models, self._log, self._trials = models, log, trials

    def routes(self) -> list[Route]:
        """What it answers."""
        of_model = [("", self.describe, "GET"), ("/ready", self.model_ready, "GET"), ("/infer", self.infer, "POST")]
        models = ("/v2/models/{project}", "/v2/models/{project}/versions/{version}")
        return [
            Route("/v2", self.server, methods=["GET"]),
            Route("/v2/health/live", self.is_live, methods=["GET"]),
            Route("/v2/health/ready", self.is_ready, methods=["GET"]),
            *(Route(model + path, call, methods=[method]) for model in models for path, call, method in of_model),
        ]

    async def server(self, request: Request) -> Response:
        """Who answers."""
        return JSONResponse({"name": "updraft", "version": "2", "extensions": ["binary_tensor_data"]})

    async def is_live(self, request: Request) -> Response:
        """That it runs."""
        return JSONResponse({"live": True})

    async def is_ready(self, request: Request) -> Response:
        """Whether every champion has been looked at."""
        ready = self._models.ready()
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """That the project has a version that answers."""
        live = self._find(request)
        return JSONResponse({"name": live.signature.project, "ready": True})

    async def describe(self, request: Request) -> Response:
        """The live version's inputs and outputs."""
        live, challenger = self._find(request), self._models.challenger(request.path_params["project"])
        known = [find(self._models, request), *([challenger.live] if challenger else [])]
        return JSONResponse(
            {
                "name": live.signature.project,
                "versions": [str(each.version) for each in known],
                "platform": f"updraft_{live.signature.runtime}",
                "inputs": _inputs(live.signature),
                "outputs": _outputs(live.signature),
            }
        )

    async def infer(self, request: Request) -> Response:
        """Predictions for tensors, as tensors."""
        with self._trials.turn(request, request.path_params.get("version")) as turn:
            live = turn.live
            if "content-encoding" in request.headers:
                raise Problem(415, "unsupported_encoding", "The body is compressed. Send it as it is.")
            given = _Given(await read_body(request, live.signature.max_body_kib * 1024), _header(request))
            inputs, found = await turn.run(given)
            turn.answers = answers = predictions_of(live.signature, found, 1)
        request_id = _request_id(given.asked, request)
        described = {"model_name": live.signature.project, "model_version": str(live.version), "id": request_id}
        body, header = write_answer(described, _answered(found, answers), given.asked)
        record(self._log, request_id, live, inputs, answers)
        request.state.rows = len(found)
        if header is None:
            return Response(body, media_type="application/json")
        return Response(body, headers={_HEADER: str(header)}, media_type="application/octet-stream")

    def _find(self, request: Request) -> Live:
        version = request.path_params.get("version")
        return find(self._models, request) if version is None else self._trials.choose(request, version)


class _Given:
    """The rows of a request, not read yet: JSON takes its time, too."""

    asked: Asked

    def __init__(self, body: bytes, header: int | None) -> None:
        self._body, self._header = body, header

    def prepare(self, predictor: Predictor) -> Inputs:
        """What the graph takes; in a thread.

        Raises:
            Problem: 400 not as the protocol wants it, 413 too many rows, 422 none that the model takes.
        """
        return self._read(predictor).prepare(predictor)

    def at_once(self, predictor: Predictor, most: int) -> Inputs | None:
        """See `serving.given.Preparable`."""
        return self._read(predictor).at_once(predictor, most) if len(self._body) <= AT_ONCE_BYTES else None

    def _read(self, predictor: Predictor) -> "Images | _Pixels | Rows":
        self.asked = read_asked(self._body, self._header)
        tensors = self.asked.tensors
        return _rows(tensors) if predictor.signature.image is None else _images(tensors, predictor)


@dataclass(frozen=True)
class _Pixels:
    """Decoded images, uint8 (N, H, W, C)."""

    pixels: np.ndarray

    def prepare(self, predictor: Predictor) -> Inputs:
        """See `serving.given.Preparable`."""
        return predictor.prepare_pixels(self.pixels)

    def at_once(self, predictor: Predictor, most: int) -> Inputs | None:
        """See `serving.given.Preparable`."""
        return self.prepare(predictor) if len(self.pixels) <= most else None


def _header(request: Request) -> int | None:
    text = request.headers.get(_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise Problem(400, "bad_header", "Inference-Header-Content-Length must be a whole number.")
    return int(text)


def _request_id(asked: Asked, request: Request) -> str:
    """What feedback has to name: the caller's id, else the one that every request gets."""
    if asked.id and not REQUEST_ID.fullmatch(asked.id):
        raise Problem(400, "bad_id", "id may have up to 100 letters, digits and any of - _ . :")
    return asked.id or request.state.request_id


def _images(tensors: Mapping[str, np.ndarray], predictor: Predictor) -> Images | _Pixels:
    shape = predictor.signature.image and predictor.signature.image.shape
    found = tensors.get("image")
    if found is None or len(tensors) > 1:
        raise Problem(422, "images_wanted", 'This model takes one input, "image".')
    _check_count(len(found), MAX_IMAGES, "images")
    if found.dtype == object and found.size == len(found):
        return Images([_file(value, index) for index, value in enumerate(found.ravel())])
    if found.dtype != np.uint8 or found.shape[1:] != shape:
        wanted = f"UINT8 [N, {', '.join(map(str, shape or ()))}], or BYTES [N] of image files"
        raise Problem(422, "wrong_shape", f"image is {found.dtype} of the shape {list(found.shape)}. Send {wanted}.")
    return _Pixels(found)


def _file(value: Any, index: int) -> bytes:
    """An image file; JSON brings it as base64."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value or "", validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, "bad_tensors", f"Image {index} is not base64.") from None


def _rows(tensors: Mapping[str, np.ndarray]) -> Rows:
    counts = {found.shape[0] for found in tensors.values()}
    if len(counts) > 1 or any(found.size != len(found) for found in tensors.values()):
        raise Problem(422, "wrong_shape", "Every column must have the shape [N] or [N, 1], of the same N.")
    _check_count(counts.pop(), MAX_ROWS, "rows")
    columns = {name: map(_text, found.ravel().tolist()) for name, found in tensors.items()}
    return Rows([dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)])


def _text(value: Any) -> Any:
    """A column's value; of bytes the text in UTF-8."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Problem(422, "wrong_type", f"{value[:40]!r} is no text in UTF-8.") from None


def _check_count(count: int, most: int, kind: str) -> None:
    if count == 0:
        raise Problem(422, "wrong_shape", f"There are no {kind} in the request.")
    if count > most:
        raise Problem(413, f"too_many_{kind}", f"{count} {kind}; send at most {most} in one request.")


def _answered(found: np.ndarray, answers: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    if "value" in answers[0]:
        return {"value": found[:, 0]}
    return {"probabilities": found, "label": np.array([answer["label"] for answer in answers], object)}


def _inputs(signature: Signature) -> list[dict[str, Any]]:
    if signature.image is not None:
        return [{"name": "image", "datatype": "UINT8", "shape": [-1, *signature.image.shape]}]
    columns = signature.columns
    return [{"name": c.name, "datatype": _COLUMNS.get(c.type, "BYTES"), "shape": [-1]} for c in columns]


def _outputs(signature: Signature) -> list[dict[str, Any]]:
    if signature.task == "regression":
        return [{"name": "value", "datatype": "FP32", "shape": [-1]}]
    probabilities = {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(signature.classes)]}
    return [probabilities, {"name": "label", "datatype": "BYTES", "shape": [-1]}]
