"""Images changed where it hurts the model most, by less than one sees: the tests ``fgsm`` and ``pgd``.

White box: they follow the gradient of the trained Keras model by its pixels. The features beside the image are held as
they were while the gradient is followed; whoever is measured computes them anew, from the changed pixels. Smaller forms
and the champion are shown the very same images: to them the attack is a transferred one.
"""

import keras
import numpy as np

from tasks.core.shards import Split
from tasks.evaluation.gradients import PixelGradient, differentiable
from tasks.evaluation.robustness import Attack

STEPS = 10
"""Of the projected gradient."""

_SEED = 20180226
_REACH = 2.5
"""How far the steps could lead in all, in radii: far enough to get from any start to any border."""


def attacker(model: keras.Model, split: Split, features: np.ndarray, epsilon: float) -> Attack:
    """What makes the attacks on the rows of a split.

    Args:
        model: the trained one; it takes ``image`` and ``features`` and gives logits.
        features: the split's, transformed, float32 (N, D).
        epsilon: how far a pixel may be moved, as a share of its range; whole levels of it count.
    """
    gradient, radius = PixelGradient(differentiable(model), loss=True), int(epsilon * 255 + 1e-6)
    images = split.images
    assert images is not None, "rows of a table have no pixels"

    def attack(name: str, rows: np.ndarray) -> np.ndarray:
        make = {"fgsm": fgsm, "pgd": pgd}[name]
        return make(gradient, images[rows], np.asarray(features[rows]), split.labels[rows], radius)

    return attack


def fgsm(
    gradient: PixelGradient, pixels: np.ndarray, features: np.ndarray, labels: np.ndarray, radius: int
) -> np.ndarray:
    """One step of ``radius`` levels along the sign of the loss's gradient.

    Goodfellow et al., "Explaining and harnessing adversarial examples" (2015).

    Args:
        pixels: uint8 (N, H, W, C).
        features: float32 (N, D), transformed.
        labels: the true classes, int (N,).

    Returns:
        uint8, shaped as ``pixels``, no level further than ``radius`` away.
    """
    return _whole(pixels + radius * np.sign(gradient(pixels, features, labels)))


def pgd(
    gradient: PixelGradient, pixels: np.ndarray, features: np.ndarray, labels: np.ndarray, radius: int
) -> np.ndarray:
    """`STEPS` smaller steps from a random start, each brought back into the ball: Madry et al., "Towards deep learning
    models resistant to adversarial attacks" (2018). For the arguments see `fgsm`.
    """
    low, high = (np.clip(pixels + side, 0, 255) for side in (np.float32(-radius), np.float32(radius)))
    found = np.random.default_rng(_SEED).uniform(low, high).astype(np.float32)
    for _ in range(STEPS):
        step = _REACH * radius / STEPS * np.sign(gradient(found, features, labels))
        found = np.clip(found + step, low, high)
    return _whole(found)


def _whole(found: np.ndarray) -> np.ndarray:
    """The nearest levels; the ball's borders are whole ones, so that none is rounded out of it."""
    return np.clip(np.round(found), 0, 255).astype(np.uint8)
