"""One image of a source: found, read once, kept as received, decoded in full, hashed."""

import errno
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from tasks.core.spec import Image
from tasks.core.store import Files
from tasks.data.source import path_in_source
from tasks.runtime.images import BadImage, read
from tasks.runtime.near import perceptual_hash

Keep = Callable[[bytes, str], tuple[str, str]]
"""Keeps bytes that have a name: their digest, and where they are kept."""

FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{f".{name}": name.upper() for name in ("png", "webp", "bmp", "gif")},
}
"""An extension to the format that it promises."""

_NO_FILE = {None, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}

_HASHED = Image(height=32, width=32)
"""The size that the perceptual hash is taken of: asked of the decoder, which is faster at it."""


class Picture(NamedTuple):
    """What ingestion knows of an image; None where it could not be had, and the reason why.

    Attributes:
        digest: SHA-256 of the bytes.
        uri: where they are kept, relative to the store.
        width, height: pixels, upright.
        mode: of the pixels, in Pillow's terms.
    """

    digest: str | None = None
    uri: str | None = None
    image_hash: int | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    format: str | None = None
    defect: str | None = None
    detail: str = ""


def take(files: Files, folder: str, name: str, keep: Keep) -> Picture:
    """Takes in the image that a row calls ``name``.

    Args:
        folder: what the name is relative to.
    """
    try:
        data = _read(files, folder, name)
    except FileNotFoundError:
        return Picture(defect="missing_file", detail=name)
    except ValueError:
        return Picture(defect="path_outside_source", detail=name)
    except OSError as error:
        return Picture(defect="unreadable_file", detail=f"{name}: {error.strerror or error}")
    digest, uri = keep(data, name)
    kept = Picture(digest, uri, bytes=len(data))
    try:
        info, pixels = read(data, _HASHED)
    except BadImage as error:
        return kept._replace(defect=error.reason, detail=f"{name}: {error.detail}")
    seen = kept._replace(image_hash=perceptual_hash(pixels), **info._asdict())
    promised = FORMATS.get(PurePosixPath(name).suffix.lower(), info.format)
    if promised != info.format:
        return seen._replace(defect="wrong_extension", detail=f"{name} holds {info.format}")
    return seen


def _read(files: Files, folder: str, name: str) -> bytes:
    """The bytes of the file of that name, or else of one that spells its accents as other systems do.

    Raises:
        FileNotFoundError: no file has that name.
        ValueError: it leads out of the source.
        OSError: it cannot be read.
    """
    if "\0" in name:
        raise FileNotFoundError(name)
    for spelling in dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))):
        path = path_in_source(folder, spelling)
        try:
            return files.read_bytes(path)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
    raise FileNotFoundError(name)
