"""The one image decoder of training and serving: received bytes to the spec's tensor, or a reason why not.

Pillow decodes. It gives the size from the header, before a decompression bomb is unpacked; it names what is wrong with
a file (OpenCV answers None, and older versions grey pixels); and with JPEG's scaled decoding it is no slower.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from tasks.core.errors import UpdraftError
from tasks.core.spec import Image

MAX_PIXELS = 64_000_000
"""Largest image decoded unless the caller says otherwise: 192 MB as RGB."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""What is read. Pillow knows more, some of which start programs (EPS) or are seldom tested."""

Reason = Literal["empty_file", "unreadable_image", "truncated_image", "too_many_pixels", "unsupported_mode"]

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B"}
_FIXES: dict[Reason, str] = {
    "empty_file": "Send or store the file again.",
    "unreadable_image": f"Give one of {', '.join(FORMATS)}.",
    "truncated_image": "Send or store the file again: its end is missing.",
    "too_many_pixels": "Make the image smaller.",
    "unsupported_mode": "Convert it to 8-bit grey or RGB.",
}


class BadImage(UpdraftError):
    """Bytes that are not a whole image of a known format.

    Args:
        reason: a code for counts and metrics.
        detail: what was seen.
    """

    exit_code = 2

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"The image cannot be used ({reason}): {detail}.", _FIXES[reason])
        self.reason = reason


class ImageInfo(NamedTuple):
    """What a file holds: size in pixels, Pillow's mode (``L``, ``RGB``, ``P``...) and format (``PNG``...)."""

    width: int
    height: int
    mode: str
    format: str


def inspect(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Measures an image and decodes all of it, so that what passes here also passes `decode`.

    Raises:
        BadImage: the bytes are not a whole image, or it has more than ``max_pixels``.
    """
    with _opened(data, max_pixels) as picture:
        info = ImageInfo(picture.width, picture.height, picture.mode, picture.format or "")
        picture.load()
    return info


def decode(data: bytes, image: Image, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes an image and resizes it to the spec's shape, aspect ratio given up.

    Grey is ITU-R 601 luminance; what is transparent shows white, as on paper; 16-bit grey keeps its upper 8 bits.

    Returns:
        uint8 pixels of shape (height, width, channels).

    Raises:
        BadImage: the bytes are not a whole image, or it has more than ``max_pixels``.
    """
    mode, size = ("L" if image.channels == 1 else "RGB"), (image.width, image.height)
    with _opened(data, max_pixels) as picture:
        # A JPEG decodes straight to the nearest larger eighth of its size: twice as fast for a photograph.
        picture.draft(mode, size)
        flat = _flattened(picture).convert(mode)
        if flat.size != size:
            flat = flat.resize(size, Pillow.Resampling.BILINEAR)
        return np.array(flat, dtype=np.uint8).reshape(image.shape)


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Pillow.Image]:
    """The image with its header read and checked; whatever fails inside the block becomes a `BadImage`."""
    if not data:
        raise BadImage("empty_file", "it has no bytes")
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > max_pixels:
                size = f"{picture.width}x{picture.height}"
                raise BadImage("too_many_pixels", f"{size} is more than {max_pixels} pixels")
            if picture.mode not in _MODES:
                raise BadImage("unsupported_mode", f"its pixels are of mode {picture.mode}")
            if picture.format == "PNG":
                _check_chunks(data)
            yield picture
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("unreadable_image", "it has no known image format") from None
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise BadImage("too_many_pixels", str(error).rstrip(".")) from None
    # Decoders of hostile bytes fail with OSError, SyntaxError, ValueError, struct.error, IndexError, zlib.error, ...
    except Exception as error:
        text = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BadImage("truncated_image" if "truncated" in text.lower() else "unreadable_image", text) from None


def _check_chunks(data: bytes) -> None:
    """Refuses a PNG whose end is missing; `load` stops caring once it has the last pixel."""
    if b"IEND" not in data:
        raise BadImage("truncated_image", "the PNG has no end chunk")
    with Pillow.open(io.BytesIO(data), formats=("PNG",)) as picture:
        picture.verify()


def _flattened(picture: Pillow.Image) -> Pillow.Image:
    """8 bits per channel and no transparency."""
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion clips everything above 255 to white.
        return Pillow.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    layer = picture.convert("RGBA")
    white = Pillow.new("RGBA", layer.size, "white")
    return Pillow.alpha_composite(white, layer)
