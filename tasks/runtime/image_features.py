"""What is computed from an image's pixels alone: statistics, gradients and keypoints.

NumPy and OpenCV: scikit-image's HOG would bring SciPy and 0.1 s of import to the endpoint (the tests hold ours against
it). Sums run over whole numbers wherever they can, so that no order of addition shows in the result.
"""

from functools import lru_cache

import cv2
import numpy as np

from tasks.core.spec import Hog, Sift
from tasks.runtime.pixels import luminance

STATS = ("brightness", "contrast", "sharpness", "entropy", "ink")
"""Dimensions of ``image_stats``, in order."""

DESCRIPTOR = 128
"""Dimensions of one SIFT descriptor."""

_LEVELS = np.arange(256)
_SQUARES = _LEVELS**2


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
    grey = luminance(pixels)
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    share = counts[counts > 0] / grey.size
    entropy = max(0.0, -float(share @ np.log2(share)))
    brightness, variance = _moments(grey.size, int(counts @ _LEVELS), int(counts @ _SQUARES))
    laplacian = cv2.Laplacian(grey, cv2.CV_16S, ksize=1, borderType=cv2.BORDER_REPLICATE)
    # Whole numbers both, but for the last digit of the norm, which OpenCV takes the root of and squares again.
    total, squares = round(cv2.sumElems(laplacian)[0]), round(cv2.norm(laplacian, cv2.NORM_L2SQR))
    _, sharpness = _moments(grey.size, total, squares)
    ink = int(counts[128:].sum()) / grey.size
    return np.array([brightness / 255, variance**0.5 / 255, sharpness / 255**2, entropy, ink])


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


def sift(pixels: np.ndarray, feature: Sift) -> np.ndarray:
    """Descriptors of the strongest keypoints (Lowe, "Distinctive image features from scale-invariant keypoints", 2004).

    Args:
        pixels: uint8 of shape (H, W, C).
        feature: how many keypoints.

    Returns:
        float32 of shape (keypoints * 128,): values 0 to 255, the strongest keypoint first; -1 where there is none.
    """
    found, described = cv2.SIFT.create(feature.keypoints).detectAndCompute(luminance(pixels), None)
    flat = np.full((feature.keypoints, DESCRIPTOR), -1, np.float32)
    # Equally strong ones are told apart by place, size and angle: OpenCV promises no order.
    order = sorted(range(len(found)), key=lambda n: (-found[n].response, *found[n].pt, found[n].size, found[n].angle))
    for row, number in enumerate(order[: feature.keypoints]):
        flat[row] = described[number]
    return flat.ravel()


def _moments(count: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and variance from sums of whole numbers, without rounding until the last division."""
    return total / count, (count * squares - total * total) / count**2


def _gradients(pixels: np.ndarray, orientations: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient magnitude (float64) and direction bin (int64), each (H, W); the border has no gradient."""
    signed = pixels.astype(np.int64)
    down, right = np.zeros_like(signed), np.zeros_like(signed)
    down[1:-1] = signed[2:] - signed[:-2]
    right[:, 1:-1] = signed[:, 2:] - signed[:, :-2]
    squared = down * down + right * right
    if pixels.shape[2] > 1:
        steepest = squared.argmax(axis=2)[:, :, None]
        down, right, squared = (np.take_along_axis(a, steepest, axis=2) for a in (down, right, squared))
    down, right, squared = (a[:, :, 0] for a in (down, right, squared))
    return np.sqrt(squared), _direction_bins(orientations)[down + 255, right + 255]


@lru_cache
def _direction_bins(orientations: int) -> np.ndarray:
    """The bin of every gradient that 8-bit pixels can have, by (down + 255, right + 255): no arctangent per pixel."""
    steps = np.arange(-255, 256)
    degrees = np.rad2deg(np.arctan2(steps[:, None], steps[None, :])) % 180
    return (degrees // (180 / orientations)).astype(np.int64)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(np.square(vectors).sum(axis=1, keepdims=True) + 1e-5**2)
