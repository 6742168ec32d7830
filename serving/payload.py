"""Requests to rows: the ways of sending images and tables, and the limits on all of them."""

import base64
import binascii
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.entities import find_entities
from serving.errors import Problem, too_large
from serving.given import Explainable, Given, Images, Rows
from tasks.runtime.predictor import Signature

MAX_IMAGES = 256
"""In one request."""

MAX_ROWS = 10_000
"""In one request."""

MAX_ENTITIES = 1_000
"""In one request."""

_ENTITY = re.compile(r"[^\ud800-\udfff]{1,1000}", re.DOTALL)
"""An entity's id: JSON may spell half a surrogate pair, which no store can hold."""

_IMAGES_WANTED = (
    "Send the image's bytes with its content type (image/png, image/jpeg, ...), a multipart form with files, "
    'or JSON {"instances": [{"image": "<base64>"}]}.'
)
_ROWS_WANTED = (
    'Send JSON {"instances": [{"<column>": <value>, ...}, ...]}; GET the same path without /predict to see the '
    'columns. Entities whose features are online may be named: {"entities": ["<id>", ...]}.'
)

Row = Mapping[str, Any]


async def read_given(request: Request, signature: Signature) -> Given:
    """The images, rows or entities that a request carries, as its model takes them: at least one.

    Raises:
        Problem: 400 not of the form announced, 404 an unknown entity, 413 too large, 415 another content type, 422 of
            the wrong kind for this model.
    """
    found = await _read(request, signature)
    return await find_entities(signature, found.ids) if isinstance(found, _Named) else found


async def read_explainable(request: Request, signature: Signature) -> Explainable:
    """The images or rows that a request carries; for the errors see `read_given`."""
    found = await _read(request, signature)
    if isinstance(found, _Named):
        wanted = _IMAGES_WANTED if signature.image else _ROWS_WANTED
        raise Problem(422, "rows_wanted", f"Entities cannot be explained: features are no columns. {wanted}")
    return found


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


@dataclass(frozen=True)
class _Named:
    """Entities, by their ids."""

    ids: Sequence[str]


async def _read(request: Request, signature: Signature) -> Explainable | _Named:
    media, limit, table = _media_type(request), signature.max_body_kib * 1024, signature.image is None
    if media == "application/json":
        value = await read_json(request, limit)
        if "entities" in value:
            return _Named(_entities(value))
        return Rows(_rows(value)) if table else Images(_images(value))
    is_form = media == "multipart/form-data"
    if not is_form and not _is_image(media):
        raise _unsupported(media, _ROWS_WANTED if table else _IMAGES_WANTED)
    if table:
        raise Problem(422, "rows_wanted", f"This project takes rows of a table, no files. {_ROWS_WANTED}")
    body = await read_body(request, limit, _IMAGES_WANTED)
    return Images(await _from_form(request, body) if is_form else [body])


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


def _list(value: Row, field: str, most: int, kind: str) -> list[Any]:
    """The list under ``field``, with something in it and no more than ``most`` of its kind."""
    found = value.get(field)
    if not isinstance(found, list) or not found:
        raise Problem(400, f"bad_{field}", f'The JSON needs a list that is not empty: {{"{field}": [...]}}.')
    if len(found) > most:
        raise Problem(413, f"too_many_{kind}", f"{len(found)} {kind}; send at most {most} in one request.")
    return found


def _images(value: Row) -> list[bytes]:
    return [_image(instance, index) for index, instance in enumerate(_list(value, "instances", MAX_IMAGES, "images"))]


def _rows(value: Row) -> list[Row]:
    rows = _list(value, "instances", MAX_ROWS, "rows")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Problem(400, "bad_instances", f'instances[{index}] must be {{"<column>": <value>, ...}}.')
    return rows


def _entities(value: Row) -> list[str]:
    entities = _list(value, "entities", MAX_ENTITIES, "entities")
    for index, entity in enumerate(entities):
        if not isinstance(entity, str) or not _ENTITY.fullmatch(entity):
            raise Problem(
                400, "bad_entities", f"entities[{index}] must be an entity's id: a text of 1 to 1000 characters."
            )
    return entities


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
