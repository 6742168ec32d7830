"""Arithmetic on decoded pixels, in whole numbers, so that every machine and every number of threads gives the same.

Arrays are uint8 of shape (H, W) for luminance and (H, W, C) otherwise.
"""

import cv2
import numpy as np
from PIL import Image as Pillow

# Callers run many images side by side; OpenCV's own threads would only fight with theirs.
cv2.setNumThreads(1)

_FLIPS = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
"""EXIF orientation to the axes to reverse, after rows and columns were exchanged for those from 5."""


class NotNumbers(ValueError):
    """Floating-point pixels of which some are infinite or no number at all."""


def luminance(pixels: np.ndarray) -> np.ndarray:
    """ITU-R 601 luminance in fixed point of 15 bits: uint8 (H, W) of pixels (H, W), (H, W, 1) or (H, W, 3)."""
    if pixels.ndim == 2:
        return pixels
    return pixels[:, :, 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resizes in two steps: means over whole boxes down to less than twice the size, then bilinear interpolation.

    Args:
        pixels: of shape (H, W) or (H, W, 3).

    Returns:
        The same number of axes, (height, width, ...).
    """
    while max(boxes := _boxes(pixels, width, height)) > 1:
        # OpenCV's area mean adds floating-point weights, in an order that depends on the processor.
        pixels = np.asarray(Pillow.fromarray(pixels).reduce(boxes))
    if pixels.shape[:2] != (height, width):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return pixels


def _boxes(pixels: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """How many columns and rows become one: up to 32 at a time, beyond which Pillow's fixed point gets too coarse."""
    return max(1, min(32, pixels.shape[1] // width)), max(1, min(32, pixels.shape[0] // height))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (1 to 8; anything else is taken for 1): how the camera was held."""
    turned = pixels.swapaxes(0, 1) if 5 <= orientation <= 8 else pixels
    return np.ascontiguousarray(np.flip(turned, _FLIPS.get(orientation, ())))


def flatten(picture: Pillow.Image) -> np.ndarray:
    """A loaded picture of any mode as 8 bits without transparency: (H, W) for grey ones, else (H, W, 3).

    What is transparent shows white, as on paper. 16-bit grey keeps its upper 8 bits; see `_to_8_bits` for wider values.

    Raises:
        NotNumbers: a floating-point pixel is not a finite number.
    """
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion clips everything above 255 to white.
        return (np.asarray(picture) >> 8).astype(np.uint8)
    if picture.mode in ("I", "F"):
        return _to_8_bits(np.asarray(picture, np.float64), (1, 255, 65535) if picture.mode == "F" else (255, 65535))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Pillow.alpha_composite(Pillow.new("RGBA", layer.size, "white"), layer)
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


def _to_8_bits(values: np.ndarray, usual: tuple[int, ...]) -> np.ndarray:
    """Scales from 0 and the first of the ``usual`` maxima that holds all values, else from their own range."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise NotNumbers("some of its pixels are not finite numbers")
    top = next((maximum for maximum in usual if low >= 0 and high <= maximum), None)
    if top is not None:
        low, high = 0.0, float(top)
    return np.round((values - low) * (255 / (high - low))).astype(np.uint8)
