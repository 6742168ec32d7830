"""Pictures as files, and what they are decoded to."""

import io
import struct
import zlib

import numpy as np
from PIL import Image as Pillow

from tasks.core.spec import Image

GREY = Image(height=8, width=8, channels=1)


RGB = Image(height=8, width=8, channels=3)


PNG = b"\x89PNG\r\n\x1a\n"


RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def encode(picture: Pillow.Image | np.ndarray, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def photograph(side: int = 64) -> np.ndarray:
    """Smooth colours, so that JPEG loses little."""
    x, y = np.meshgrid(np.linspace(0, 255, side), np.linspace(0, 255, side))
    return np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8)
