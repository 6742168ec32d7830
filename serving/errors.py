"""Every error the endpoint answers with: ``{"error": {"code", "message", "request_id"}}``, never a stack trace.

Below ``/v2`` it is ``{"error": "<message>"}``, as the Open Inference Protocol wants it.
"""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from tasks.runtime.images import BadImage
from tasks.runtime.instances import BadRow

_CODES = {404: "not_found", 405: "method_not_allowed"}
_HEADERS = {401: {"www-authenticate": 'Bearer realm="updraft"'}, 408: {"connection": "close"}}
_SHOWN = 200
"""Characters of a path that a message repeats."""


class Problem(Exception):
    """A request that cannot be answered.

    Args:
        status: the HTTP status.
        code: a word for programs; stable.
        message: a sentence for people: what is wrong and what to send instead.
        retry_after: seconds after which the same request may be answered.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def too_large(limit: int) -> Problem:
    """The body has more than ``limit`` bytes."""
    return Problem(
        413, "body_too_large", f"The body is larger than {limit} bytes. Send fewer or smaller ones in a request."
    )


def bad_image(error: BadImage, index: int) -> Problem:
    """Image ``index`` of the request cannot be decoded; the code is the decoder's reason."""
    return Problem(422, error.reason, f"Image {index}: {error.message} {error.fix}")


def bad_row(error: BadRow) -> Problem:
    """A row of the request is none that the model takes; the message names it, and the code is the reason."""
    return Problem(422, error.reason, f"{error.message} {error.fix}")


def respond(scope: Scope, problem: Problem) -> JSONResponse:
    """The answer to the request of ``scope``, in the shape of its protocol; for code outside the router."""
    # What was sent may hold halves of characters, which no answer could carry.
    message = problem.message.encode("utf-8", "replace").decode()
    error = {"code": problem.code, "message": message, "request_id": scope["state"]["request_id"]}
    headers = dict(_HEADERS.get(problem.status, {}))
    if problem.retry_after is not None:
        headers["retry-after"] = str(problem.retry_after)
    return JSONResponse({"error": message if is_v2(scope["path"]) else error}, problem.status, headers)


def is_v2(path: str) -> bool:
    """Whether the path is the Open Inference Protocol's."""
    return path == "/v2" or path.startswith("/v2/")


async def on_problem(request: Request, error: Exception) -> Response:
    """Handles `Problem`."""
    assert isinstance(error, Problem)
    return respond(request.scope, error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handles what the router refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    status, headers = error.status_code, error.headers or {}
    said = f"{HTTPStatus(status).phrase}: {request.method} {request.url.path[:_SHOWN]}."
    if status == 404:
        said += " GET / lists the projects, GET /openapi.json the routes."
    elif "Allow" in headers:
        said += f" This path takes {headers['Allow']}."
    response = respond(request.scope, Problem(status, _CODES.get(status, "http_error"), said))
    response.headers.update(headers)
    return response


async def on_disconnect(request: Request, error: Exception) -> Response:
    """Handles a client that left before its request was whole; nobody reads this."""
    said = "The connection was closed before the request was whole. Send it again."
    return respond(request.scope, Problem(400, "incomplete_request", said))


async def on_failure(request: Request, error: Exception) -> Response:
    """Handles everything else: a fault of ours, whose stack trace the server logs."""
    said = "The endpoint failed. Its log has the cause under this request's id; report it with that."
    return respond(request.scope, Problem(500, "internal_error", said))


HANDLERS = {
    Problem: on_problem,
    HTTPException: on_http_error,
    ClientDisconnect: on_disconnect,
    Exception: on_failure,
}
"""For the Starlette application."""
