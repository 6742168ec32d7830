"""Images as a bad camera, a bad light or a bad connection would have them.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations" (2019): five
severities, those of CIFAR-10-C for images of up to `SMALL` pixels a side and of ImageNet-C for larger ones. Rotation is
not among their corruptions; its severities are our own.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

SMALL = 64
"""Images of at most so many pixels a side count as small."""

_SEED = 20190112


class _Corruption(NamedTuple):
    """Of an image in [0, 1], float64 (H, W, C), by an amount; ``small`` and ``large`` hold it for each severity."""

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    small: tuple[float, ...]
    large: tuple[float, ...]


def corrupt(test: str, pixels: np.ndarray) -> np.ndarray:
    """Disturbs images: the first by severity 1, the next by 2, ... the sixth by 1 again.

    Args:
        test: ``gaussian_noise``, ``blur``, ``brightness``, ``rotation`` or ``jpeg``.
        pixels: uint8 (N, H, W, C).

    Returns:
        uint8 of the same shape; the same for the same images, always.
    """
    corruption, random = _CORRUPTIONS[test], np.random.default_rng([_SEED, list(_CORRUPTIONS).index(test)])
    amounts = corruption.small if max(pixels.shape[1:3]) <= SMALL else corruption.large
    found = np.empty_like(pixels)
    for number, image in enumerate(pixels):
        changed = corruption.apply(image / 255, amounts[number % len(amounts)], random)
        found[number] = _levels(changed).reshape(image.shape)
    return found


def _levels(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _noise(image: np.ndarray, deviation: float, random: np.random.Generator) -> np.ndarray:
    return image + random.normal(scale=deviation, size=image.shape)


def _blur(image: np.ndarray, sigma: float, _: np.random.Generator) -> np.ndarray:
    """``sigma`` is in pixels, of a large image in those of one of 224 a side, as the benchmark's are."""
    side = max(image.shape[:2])
    sigma *= 1 if side <= SMALL else side / 224
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def _brightness(image: np.ndarray, amount: float, _: np.random.Generator) -> np.ndarray:
    """Adds to the value of hue, saturation and value."""
    value = image.max(axis=2, keepdims=True)
    brighter = np.minimum(value + amount, 1)
    return np.where(value > 0, image * brighter / np.where(value > 0, value, 1), brighter)


def _rotation(image: np.ndarray, degrees: float, random: np.random.Generator) -> np.ndarray:
    """Either way around; what comes into the picture continues its border."""
    height, width = image.shape[:2]
    angle = degrees * random.choice((-1, 1))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    return cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _jpeg(image: np.ndarray, quality: float, _: np.random.Generator) -> np.ndarray:
    space = "GRAY" if image.shape[2] == 1 else "RGB"
    levels = np.ascontiguousarray(_levels(image))
    data = simplejpeg.encode_jpeg(levels, int(quality), space, "Gray" if space == "GRAY" else "420")
    return simplejpeg.decode_jpeg(data, space) / 255


_CORRUPTIONS: Mapping[str, _Corruption] = {
    "gaussian_noise": _Corruption(_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "blur": _Corruption(_blur, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)),
    "brightness": _Corruption(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "rotation": _Corruption(_rotation, (5, 10, 15, 20, 25), (5, 10, 15, 20, 25)),
    "jpeg": _Corruption(_jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
