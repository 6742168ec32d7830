"""Requests to rows: the ways of sending images and tables, and the limits on all of them."""

import base64
import binascii
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.errors import Problem, too_large

MAX_IMAGES = 256
"""In one request."""

MAX_ROWS = 10_000
"""In one request."""

_IMAGES_WANTED = (
    "Send the image's bytes with its content type (image/png, image/jpeg, ...), a multipart form with files, "
    'or JSON {"instances": [{"image": "<base64>"}]}.'
)
_ROWS_WANTED = (
    'Send JSON {"instances": [{"<column>": <value>, ...}, ...]}; GET the same path without /predict to see the columns.'
)

Row = Mapping[str, Any]


async def read_images(request: Request, limit: int) -> list[bytes]:
    """The images that a request carries, as received: at least one.

    Args:
        limit: bytes that the body may have.

    Raises:
        Problem: 400 not of the form announced, 413 too large, 415 another content type, 422 rows of a table.
    """
    media = _media_type(request)
    if _is_image(media):
        images = [await read_body(request, limit, _IMAGES_WANTED)]
    elif media == "multipart/form-data":
        images = await _from_form(request, await read_body(request, limit, _IMAGES_WANTED))
    elif media == "application/json":
        images = [_image(instance, n) for n, instance in enumerate(_instances(await read_json(request, limit)))]
    else:
        raise _unsupported(media, _IMAGES_WANTED)
    if len(images) > MAX_IMAGES:
        raise Problem(413, "too_many_images", f"{len(images)} images; send at most {MAX_IMAGES} in one request.")
    return images


async def read_rows(request: Request, limit: int) -> list[Row]:
    """The rows of a table that a request carries: at least one.

    Args:
        limit: bytes that the body may have.

    Raises:
        Problem: 400 not of the form announced, 413 too large, 415 another content type, 422 images.
    """
    media = _media_type(request)
    if _is_image(media) or media == "multipart/form-data":
        raise Problem(422, "rows_wanted", f"This project takes rows of a table, no files. {_ROWS_WANTED}")
    if media != "application/json":
        raise _unsupported(media, _ROWS_WANTED)
    rows = _instances(await read_json(request, limit))
    if len(rows) > MAX_ROWS:
        raise Problem(413, "too_many_rows", f"{len(rows)} rows; send at most {MAX_ROWS} in one request.")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Problem(400, "bad_instances", f'instances[{index}] must be {{"<column>": <value>, ...}}.')
    return rows


async def read_body(request: Request, limit: int, wanted: str = "") -> bytes:
    """The body, read no further than ``limit`` bytes, whether its length was announced or not.

    Args:
        wanted: what to send instead of nothing.

    Raises:
        Problem: 400 empty, 413 too large.
    """
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    if not body:
        raise Problem(400, "empty_body", f"The request has no body. {wanted}".strip())
    return bytes(body)


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        Problem: 400 it is none, 413 too large.
    """
    try:
        value = json.loads(await read_body(request, limit))
    except (ValueError, RecursionError):
        raise Problem(400, "bad_json", "The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise Problem(400, "bad_json", "The body must be a JSON object.")
    return value


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_image(media: str) -> bool:
    return media.startswith("image/") or media == "application/octet-stream"


def _unsupported(media: str, wanted: str) -> Problem:
    return Problem(415, "unsupported_media_type", f"Content type {media or '(none)'} is not supported. {wanted}")


async def _from_form(request: Request, body: bytes) -> list[bytes]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, stream(), max_files=MAX_IMAGES).parse()
    except MultiPartException as error:
        raise Problem(400, "bad_form", f"The form cannot be read: {error.message}") from None
    images = [await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)]
    await form.close()
    if not images:
        raise Problem(400, "bad_form", "The form holds no file. Send one or more image files, under any name.")
    return images


def _instances(value: Row) -> list[Any]:
    instances = value.get("instances")
    if not isinstance(instances, list) or not instances:
        raise Problem(400, "bad_instances", 'The JSON needs a list that is not empty: {"instances": [...]}.')
    return instances


def _image(instance: Any, index: int) -> bytes:
    if isinstance(instance, dict) and instance and "image" not in instance:
        given = ", ".join(list(instance)[:5])[:200]
        message = f"This project takes images, and instances[{index}] is a row of {given}. {_IMAGES_WANTED}"
        raise Problem(422, "images_wanted", message)
    text = instance.get("image") if isinstance(instance, dict) else None
    if not isinstance(text, str):
        raise Problem(400, "bad_instances", f'instances[{index}] must be {{"image": "<base64>"}}.')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, "bad_instances", f"instances[{index}].image is not base64.") from None
