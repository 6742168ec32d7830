"""The one image decoder of training and serving: received bytes to the spec's tensor, or a reason why not.

Pillow reads every header: it gives the size before a decompression bomb is unpacked, and knows the formats' oddities.
libjpeg-turbo (simplejpeg) unpacks plain JPEGs, straight to the nearest larger half, quarter or eighth of their size and
strictly: lost data is an error, not grey pixels. Pillow unpacks everything else.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from tasks.core.errors import UpdraftError
from tasks.core.spec import Image
from tasks.runtime.pixels import NotNumbers, flatten, luminance, resize, upright

MAX_PIXELS = 64_000_000
"""Largest image decoded unless the caller says otherwise: 192 MB as RGB."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""What is read. Pillow knows more, some of which start programs (EPS) or are seldom tested."""

Reason = Literal["empty_file", "unreadable_image", "truncated_image", "too_many_pixels", "unsupported_mode"]

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B", "I", "F"}
_ORIENTATION = 0x0112
_LEFT_TO_PILLOW = (
    # What libjpeg warns of although no pixel is lost (some phones write such headers), and a layout TurboJPEG lacks.
    *("Invalid SOS parameters", "JFIF revision", "Adobe color transform"),
    "Could not determine subsampling",
)
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
        detail: what was seen, in under 200 characters.
    """

    exit_code = 2

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"The image cannot be used ({reason}): {detail}.", _FIXES[reason])
        self.reason = reason
        self.detail = detail


class ImageInfo(NamedTuple):
    """What a file holds: upright size in pixels, Pillow's mode (``L``, ``RGB``, ``P``...) and format (``PNG``...)."""

    width: int
    height: int
    mode: str
    format: str


def read(data: bytes, image: Image, max_pixels: int = MAX_PIXELS) -> tuple[ImageInfo, np.ndarray]:
    """Decodes all of an image, once, and resizes it to the spec's shape, aspect ratio given up.

    EXIF orientation is applied; of an animation the first frame counts. Grey is ITU-R 601 luminance. What becomes of
    transparency and of more than 8 bits, `tasks.runtime.pixels.flatten` says.

    Returns:
        What the file holds, and uint8 pixels of shape (height, width, channels).

    Raises:
        BadImage: the bytes are not a whole image, or it has more than ``max_pixels``.
    """
    with _opened(data, max_pixels) as picture:
        pixels = _plain_jpeg(data, picture, image)
        if pixels is None:
            picture.load()
            pixels = flatten(picture)
        orientation = _orientation(picture)
        sides = picture.size if orientation < 5 else picture.size[::-1]
        # Some cameras put a second picture behind the first; it is a JPEG all the same.
        form = "JPEG" if picture.format == "MPO" else str(picture.format)
        info = ImageInfo(*sides, picture.mode, form)
        return info, _fitted(upright(pixels, orientation), image)


def decode(data: bytes, image: Image, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of `read`."""
    return read(data, image, max_pixels)[1]


def inspect(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """The description of `read`; what passes here also passes `decode`."""
    return read(data, Image(height=1, width=1), max_pixels)[0]


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Pillow.Image]:
    """The image with its header read and checked; whatever fails inside the block becomes a `BadImage`."""
    if not data:
        raise BadImage("empty_file", "it has no bytes")
    try:
        _check_length(data)
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
        raise _named(error) from None


def _named(error: Exception) -> BadImage:
    text = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    if "truncated" in text.lower() or "Premature end of JPEG file" in text:
        return BadImage("truncated_image", text)
    return BadImage("unsupported_mode" if isinstance(error, NotNumbers) else "unreadable_image", text)


def _check_length(data: bytes) -> None:
    """Refuses a file that says itself that it is longer; the decoders of these formats would call it unknown."""
    wanted = 0
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        wanted = int.from_bytes(data[4:8], "little") + 8
    elif data[:4] in (b"II*\0", b"MM\0*"):
        wanted = int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big")
    if wanted > len(data):
        raise BadImage("truncated_image", f"it has {len(data)} of {wanted} bytes")


def _check_chunks(data: bytes) -> None:
    """Refuses a PNG whose end is missing; `load` stops caring once it has the last pixel."""
    if b"IEND" not in data:
        raise BadImage("truncated_image", "the PNG has no end chunk")
    with Pillow.open(io.BytesIO(data), formats=("PNG",)) as picture:
        picture.verify()


def _plain_jpeg(data: bytes, picture: Pillow.Image, image: Image) -> np.ndarray | None:
    """The pixels of an 8-bit grey or RGB JPEG, no smaller than the spec's; None for what Pillow has to unpack."""
    if picture.format not in ("JPEG", "MPO") or picture.mode not in ("L", "RGB"):
        return None
    height, width = image.height, image.width
    if _orientation(picture) >= 5:
        height, width = width, height
    # Scales between a half and the whole have no fast code in libjpeg-turbo.
    options = {"min_height": height, "min_width": width, "min_factor": 2}
    space = "GRAY" if image.channels == 1 or picture.mode == "L" else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(data, space, **options)
    except ValueError as error:
        if any(known in str(error) for known in _LEFT_TO_PILLOW):
            return None
        raise
    return pixels[:, :, 0] if space == "GRAY" else pixels


def _orientation(picture: Pillow.Image) -> int:
    """How the camera was held: EXIF's 1 to 8. Pillow turns a TIFF itself."""
    if picture.format == "TIFF":
        return 1
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # Damaged metadata of a sound image; it fails in as many ways as there are.
        return 1
    return found if found in range(1, 9) else 1


def _fitted(pixels: np.ndarray, image: Image) -> np.ndarray:
    if image.channels == 1:
        pixels = luminance(pixels)
    pixels = resize(pixels, image.width, image.height)
    if image.channels == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels.reshape(image.shape)
