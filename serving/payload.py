"""Requests to bytes: the three ways of sending images, and the limits on all of them."""

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.errors import Problem, too_large

MAX_IMAGES = 256
"""In one request."""

_ACCEPTED = (
    "Send the image's bytes with its content type (image/png, image/jpeg, ...), a multipart form with files, "
    'or JSON {"instances": [{"image": "<base64>"}]}.'
)


async def read_images(request: Request, limit: int) -> list[bytes]:
    """The images that a request carries, as received: at least one.

    Args:
        limit: bytes that the body may have.

    Raises:
        Problem: 400 not of the form announced, 413 too large, 415 another content type.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media.startswith("image/") or media == "application/octet-stream":
        images = [await read_body(request, limit)]
    elif media == "multipart/form-data":
        images = await _from_form(request, await read_body(request, limit))
    elif media == "application/json":
        images = _from_json(await read_json(request, limit))
    else:
        raise Problem(415, "unsupported_media_type", f"Content type {media or '(none)'} is not supported. {_ACCEPTED}")
    if len(images) > MAX_IMAGES:
        raise Problem(413, "too_many_images", f"{len(images)} images; send at most {MAX_IMAGES} in one request.")
    return images


async def read_body(request: Request, limit: int) -> bytes:
    """The body, read no further than ``limit`` bytes, whether its length was announced or not.

    Raises:
        Problem: 413 too large, 400 empty.
    """
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    if not body:
        raise Problem(400, "empty_body", f"The request has no body. {_ACCEPTED}")
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


def _from_json(value: dict[str, Any]) -> list[bytes]:
    instances = value.get("instances")
    if not isinstance(instances, list) or not instances:
        raise Problem(400, "bad_instances", 'The JSON needs a list that is not empty: {"instances": [...]}.')
    return [_image(instance, index) for index, instance in enumerate(instances)]


def _image(instance: Any, index: int) -> bytes:
    text = instance.get("image") if isinstance(instance, dict) else None
    if not isinstance(text, str):
        raise Problem(400, "bad_instances", f'instances[{index}] must be {{"image": "<base64>"}}.')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, "bad_instances", f"instances[{index}].image is not base64.") from None
