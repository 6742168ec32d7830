"""Image features: one function from pixels to named vectors, called by the features stage and by the endpoint.

NumPy alone, so that the endpoint stays light: scikit-image's HOG would bring SciPy and 0.1 s of import to it (the tests
hold ours against it). Sums run over integers wherever they can, so that no order of addition shows in the result.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tasks.core.errors import BadInput
from tasks.core.spec import Feature, Hog, Image, ImageStats

STATS = ("brightness", "contrast", "sharpness", "entropy", "ink")
"""Dimensions of ``image_stats``, in order."""


def extract(pixels: np.ndarray, features: Sequence[Feature]) -> dict[str, np.ndarray]:
    """Computes the spec's features of one image.

    Args:
        pixels: uint8 of shape (H, W, C), as `tasks.runtime.images.decode` gives it; C is 1 or 3.
        features: the spec's extractors.

    Returns:
        The extractor's ``kind`` to its float32 vector, of the width that `widths` tells.
    """
    return {feature.kind: _compute(pixels, feature).astype(np.float32) for feature in features}


def widths(features: Sequence[Feature], image: Image) -> dict[str, int]:
    """The extractor's ``kind`` to its number of dimensions.

    Raises:
        BadInput: an image of the spec's size holds no whole HOG block.
    """
    return {kind: len(dimensions) for kind, dimensions in names(features, image).items()}


def names(features: Sequence[Feature], image: Image) -> dict[str, tuple[str, ...]]:
    """The extractor's ``kind`` to the names of its dimensions: what drift reports show.

    Raises:
        BadInput: an image of the spec's size holds no whole HOG block.
    """
    return {f.kind: STATS if isinstance(f, ImageStats) else _hog_names(f, image) for f in features}


def image_stats(pixels: np.ndarray) -> np.ndarray:
    """Five numbers that tell a scan or a camera gone wrong, from an image's luminance.

    Brightness: mean, 0 to 1. Contrast: standard deviation, 0 to 0.5. Sharpness: variance of the Laplacian of values
    0 to 1 (Pech-Pacheco et al., 2000). Entropy: of the histogram, 0 to 8 bits. Ink: share of pixels in the brighter
    half of the range.

    Args:
        pixels: uint8 of shape (H, W, C).

    Returns:
        float64 of shape (5,), in the order of `STATS`.
    """
    grey = _luminance(pixels)
    share = np.bincount(grey.ravel(), minlength=256)[:256] / grey.size
    share = share[share > 0]
    entropy = max(0.0, -float(share @ np.log2(share)))
    brightness, variance = _moments(grey)
    _, sharpness = _moments(_laplacian(grey))
    stats = (
        brightness / 255,
        variance**0.5 / 255,
        sharpness / 255**2,
        entropy,
        np.count_nonzero(grey > 127) / grey.size,
    )
    return np.array(stats)


def hog(pixels: np.ndarray, feature: Hog) -> np.ndarray:
    """Histogram of oriented gradients (Dalal and Triggs, 2005), L2-Hys block normalization, unsigned directions.

    A colour image votes with the channel of the steepest gradient; each pixel votes for one bin with its magnitude.
    Same values as scikit-image's ``hog``.

    Args:
        pixels: uint8 of shape (H, W, C).
        feature: orientations, cell and block.

    Returns:
        float64, laid out as (block row, block column, cell row, cell column, orientation), flat.
    """
    rows, columns = (side // feature.cell for side in pixels.shape[:2])
    high, wide = rows * feature.cell, columns * feature.cell
    magnitude, direction = _gradients(pixels, feature.orientations)
    cell = np.arange(high)[:, None] // feature.cell * columns + np.arange(wide) // feature.cell
    votes = np.bincount(
        (cell * feature.orientations + direction[:high, :wide]).ravel(),
        weights=magnitude[:high, :wide].ravel(),
        minlength=rows * columns * feature.orientations,
    )
    cells = votes.reshape(rows, columns, feature.orientations) / feature.cell**2
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (feature.block, feature.block), axis=(0, 1))
    # The window's axes come last: (block row, block column, orientation, cell row, cell column).
    flat = blocks.transpose(0, 1, 3, 4, 2).reshape(-1, feature.block**2 * feature.orientations)
    return _unit(np.minimum(_unit(flat), 0.2)).ravel()


def _compute(pixels: np.ndarray, feature: Feature) -> np.ndarray:
    return image_stats(pixels) if isinstance(feature, ImageStats) else hog(pixels, feature)


def _luminance(pixels: np.ndarray) -> np.ndarray:
    """ITU-R 601 in the fixed point that `decode` uses too; int64 of shape (H, W)."""
    if pixels.shape[2] == 1:
        return pixels[:, :, 0].astype(np.int64)
    return (pixels.astype(np.int64) @ np.array([19595, 38470, 7471]) + 0x8000) >> 16


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and variance of integers, without rounding until the last division."""
    count, total, squares = values.size, int(values.sum()), int((values * values).sum())
    return total / count, (count * squares - total * total) / count**2


def _laplacian(grey: np.ndarray) -> np.ndarray:
    """The 4-neighbour Laplacian, the border repeated."""
    padded = np.pad(grey, 1, mode="edge")
    return padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey


def _gradients(pixels: np.ndarray, orientations: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient magnitude (float64) and direction bin (int64), each (H, W); the border has no gradient."""
    signed = pixels.astype(np.int64)
    down, right = np.zeros_like(signed), np.zeros_like(signed)
    down[1:-1] = signed[2:] - signed[:-2]
    right[:, 1:-1] = signed[:, 2:] - signed[:, :-2]
    squared = down * down + right * right
    steepest = squared.argmax(axis=2)[:, :, None]
    down, right, squared = (np.take_along_axis(a, steepest, axis=2)[:, :, 0] for a in (down, right, squared))
    return np.sqrt(squared), _direction_bins(orientations)[down + 255, right + 255]


@lru_cache
def _direction_bins(orientations: int) -> np.ndarray:
    """The bin of every gradient that 8-bit pixels can have, by (down + 255, right + 255): no arctangent per pixel."""
    steps = np.arange(-255, 256)
    degrees = np.rad2deg(np.arctan2(steps[:, None], steps[None, :])) % 180
    return (degrees // (180 / orientations)).astype(np.int64)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(np.square(vectors).sum(axis=1, keepdims=True) + 1e-5**2)


def _hog_names(feature: Hog, image: Image) -> tuple[str, ...]:
    rows, columns = (side // feature.cell - feature.block + 1 for side in (image.height, image.width))
    if min(rows, columns) < 1:
        side = feature.cell * feature.block
        message = f"features.hog: a block is {side}x{side} pixels, the image only {image.width}x{image.height}."
        raise BadInput(message, "Make cell or block smaller, or the image larger.")
    inner, bins = range(feature.block), range(feature.orientations)
    return tuple(
        f"block_{r}_{c}.cell_{i}_{j}.bin_{k}"
        for r in range(rows) for c in range(columns) for i in inner for j in inner for k in bins
    )  # fmt: skip
