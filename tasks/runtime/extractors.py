"""From pixels to named vectors: one function for the features stage and the endpoint, and its dimensions' names."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tasks.core.errors import BadInput
from tasks.core.spec import CnnEmbedding, Feature, Hog, Image, ImageFeature, ImageStats, Sift
from tasks.runtime.image_features import DESCRIPTOR, STATS, hog, image_stats, sift


class Embeds(Protocol):
    """A loaded network: `tasks.runtime.embedding.Embedder`."""

    width: int

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels, uint8 (H, W, C), to float32 (width,)."""
        ...


Embedders = Mapping[str, Embeds]
"""Group of a ``cnn_embedding`` feature to its network."""


def extract(
    pixels: np.ndarray, features: Sequence[Feature], embedders: Embedders | None = None
) -> dict[str, np.ndarray]:
    """Computes the spec's features of one image.

    Args:
        pixels: uint8 of shape (H, W, C), as `tasks.runtime.images.decode` gives it; C is 1 or 3.
        features: the spec's extractors of images.
        embedders: one for each ``cnn_embedding`` group.

    Returns:
        The group's name to its float32 vector, of the width that `widths` tells.
    """
    return {
        feature.group: _compute(pixels, feature, embedders or {}).astype(np.float32, copy=False)
        for feature in features
        if isinstance(feature, ImageFeature)
    }


def widths(features: Sequence[Feature], image: Image | None, embedders: Embedders | None = None) -> dict[str, int]:
    """The group's name to its number of dimensions; for the arguments and errors see `names`."""
    return {group: len(dimensions) for group, dimensions in names(features, image, embedders).items()}


def names(
    features: Sequence[Feature], image: Image | None, embedders: Embedders | None = None
) -> dict[str, tuple[str, ...]]:
    """The group's name to the names of its dimensions: what drift reports show.

    Args:
        features: the spec's extractors, of images or of tables.
        image: the spec's; None for tables.
        embedders: one for each ``cnn_embedding`` group: only the network knows how wide it is.

    Raises:
        BadInput: an image of the spec's size holds no whole HOG block.
    """
    return {feature.group: _names(feature, image, embedders or {}) for feature in features}


def _compute(pixels: np.ndarray, feature: ImageFeature, embedders: Embedders) -> np.ndarray:
    if isinstance(feature, ImageStats):
        return image_stats(pixels)
    if isinstance(feature, Hog):
        return hog(pixels, feature)
    if isinstance(feature, Sift):
        return sift(pixels, feature)
    return embedders[feature.group](pixels)


def _names(feature: Feature, image: Image | None, embedders: Embedders) -> tuple[str, ...]:
    if not isinstance(feature, ImageFeature):
        # Brings pyarrow, which the endpoint of an image project does without.
        from tasks.runtime.table_features import dimension_names

        return dimension_names(feature)
    if isinstance(feature, ImageStats):
        return STATS
    if isinstance(feature, Sift):
        return tuple(f"keypoint_{k}.{j}" for k in range(feature.keypoints) for j in range(DESCRIPTOR))
    if isinstance(feature, CnnEmbedding):
        return tuple(f"embedding_{k}" for k in range(embedders[feature.group].width))
    assert image is not None
    return _hog_names(feature, image)


def _hog_names(feature: Hog, image: Image) -> tuple[str, ...]:
    rows, columns = (side // feature.cell - feature.block + 1 for side in (image.height, image.width))
    if min(rows, columns) < 1:
        side = feature.cell * feature.block
        message = f"features.{feature.group}: a block is {side}x{side} pixels, the image {image.width}x{image.height}."
        raise BadInput(message, "Make cell or block smaller, or the image larger.")
    inner, bins = range(feature.block), range(feature.orientations)
    return tuple(
        f"block_{r}_{c}.cell_{i}_{j}.bin_{k}"
        for r in range(rows) for c in range(columns) for i in inner for j in inner for k in bins
    )  # fmt: skip
