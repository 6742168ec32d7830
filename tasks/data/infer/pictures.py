"""What the images of a source are like: sizes, colours, and how many are nearly the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.spec import Image
from tasks.core.store import Files
from tasks.data.infer.sample import Say, evenly
from tasks.runtime.images import BadImage, read
from tasks.runtime.near import groups, perceptual_hash

LOOKED_AT = 300
"""Images decoded."""

LARGEST = 128
"""Longer side of the model's image, in pixels: what a network on a laptop's processor gets through."""

NEAR_BITS = 2
"""Differing bits of the perceptual hash that re-encoding or resizing leaves."""

_SEEN_AT = Image(height=64, width=64, channels=3)


@dataclass(frozen=True)
class Pictures:
    """What the images looked at have in common.

    Attributes:
        widths, heights: of those that can be decoded, in pixels.
        grey: whether none has a colour.
        near: the share that would fall out as near-duplicates of another one, in a partition.
        bad: the share that cannot be decoded.
    """

    widths: np.ndarray
    heights: np.ndarray
    grey: bool
    near: float
    bad: float

    def image(self) -> dict[str, int]:
        """The size of the tensor: as the median image, no longer than `LARGEST`."""
        height, width = np.median(self.heights), np.median(self.widths)
        scale = min(1.0, LARGEST / max(height, width))
        sides = {"height": max(8, round(height * scale)), "width": max(8, round(width * scale))}
        return sides | {"channels": 1 if self.grey else 3}


def look(files: Files, paths: Sequence[str], partition: int, say: Say) -> Pictures | None:
    """Decodes some of the images; None when none of them can be.

    Args:
        partition: how many images a partition holds.
    """
    sizes, hashes, grey = [], [], True
    chosen = _some(paths)
    for number, path in enumerate(chosen, 1):
        try:
            info, pixels = read(files.read_bytes(path), _SEEN_AT)
        except (BadImage, OSError, ValueError):
            continue
        sizes.append((info.width, info.height))
        hashes.append(perceptual_hash(pixels))
        # JPEG gives a scanned grey picture a hint of colour.
        grey = grey and int(np.ptp(pixels.astype(np.int16), axis=2).max()) <= 16
        if number % 100 == 0:
            say(f"{number} of {len(chosen)} images decoded")
    if not sizes:
        return None
    widths, heights = np.array(sizes).T
    clusters = groups(np.array(hashes, np.int64), NEAR_BITS)
    twice = float(np.mean(clusters != np.arange(len(clusters))))
    return Pictures(widths, heights, grey, twice * max(1.0, partition / len(sizes)), 1 - len(sizes) / len(chosen))


def _some(paths: Sequence[str]) -> list[str]:
    """Half of them neighbours, for near-duplicates stand side by side; the others from everywhere."""
    if len(paths) <= LOOKED_AT:
        return list(paths)
    half = LOOKED_AT // 2
    return [*paths[:half], *evenly(paths[half:], half)]
