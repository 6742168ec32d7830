"""Every error the endpoint answers with: ``{"error": {"code", "message", "request_id"}}``, never a stack trace."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from tasks.runtime.images import BadImage
from tasks.runtime.instances import BadRow

_CODES = {404: "not_found", 405: "method_not_allowed"}


class Problem(Exception):
    """A request that cannot be answered.

    Args:
        status: the HTTP status.
        code: a word for programs; stable.
        message: a sentence for people: what is wrong and what to send instead.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


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


async def on_problem(request: Request, error: Exception) -> Response:
    """Handles `Problem`."""
    assert isinstance(error, Problem)
    return _answer(request, error.status, error.code, error.message)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handles what the router refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "http_error")
    message = f"{HTTPStatus(error.status_code).phrase}: {request.method} {request.url.path}."
    response = _answer(request, error.status_code, code, message)
    response.headers.update(error.headers or {})
    return response


async def on_disconnect(request: Request, error: Exception) -> Response:
    """Handles a client that left before its request was whole; nobody reads this."""
    return _answer(request, 400, "incomplete_request", "The connection was closed before the request was whole.")


async def on_failure(request: Request, error: Exception) -> Response:
    """Handles everything else: a fault of ours, whose stack trace the server logs."""
    return _answer(request, 500, "internal_error", "The endpoint failed. Its log has the cause under this request_id.")


HANDLERS = {
    Problem: on_problem,
    HTTPException: on_http_error,
    ClientDisconnect: on_disconnect,
    Exception: on_failure,
}
"""For the Starlette application."""


def _answer(request: Request, status: int, code: str, message: str) -> JSONResponse:
    error = {"code": code, "message": message, "request_id": request.state.request_id}
    return JSONResponse({"error": error}, status)
