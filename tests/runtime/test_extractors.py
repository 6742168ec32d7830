"""The features: scikit-image's HOG, statistics that mean what they are called, and numbers for any image at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.feature import hog as reference_hog

from tasks.core.errors import BadInput
from tasks.core.spec import CnnEmbedding, DateParts, Hog, Image, ImageStats, Sift
from tasks.runtime.extractors import extract, names, widths
from tasks.runtime.image_features import DESCRIPTOR, STATS, hog, image_stats, sift

BOTH = (ImageStats(kind="image_stats"), Hog(kind="hog", cell=2, block=2))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


NETWORK = CnnEmbedding(kind="cnn_embedding", name="network", architecture="champion")


class Network:
    """Stands for a loaded embedding: mean and size."""

    width = 2

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return np.array([pixels.mean(), pixels.size], np.float32)


def blobs() -> np.ndarray:
    """Discs of several sizes and levels on grey: keypoints for SIFT."""
    random, (y, x) = np.random.default_rng(4), np.mgrid[:96, :96]
    image = np.full((96, 96), 128, np.uint8)
    for _ in range(14):
        row, column, radius, level = random.integers([12, 12, 3, 0], [84, 84, 9, 256])
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = level
    return image[:, :, None]


def stats(pixels: np.ndarray) -> dict[str, float]:
    return dict(zip(STATS, image_stats(pixels), strict=True))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "orientations", "cell", "block"),
    [((8, 8), 9, 2, 2), ((33, 40), 9, 8, 3), ((20, 17), 4, 3, 1), ((64, 48), 12, 5, 2), ((9, 9), 36, 3, 3)],
)
def test_hog_is_scikit_images(size: tuple[int, int], orientations: int, cell: int, block: int, channels: int) -> None:
    pixels = noise(*size, channels)
    expected = reference_hog(pixels, orientations, (cell, cell), (block, block), channel_axis=-1)
    found = hog(pixels, Hog(kind="hog", orientations=orientations, cell=cell, block=block))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_dark_frame_a_bright_frame_and_a_half_one() -> None:
    black, white = np.zeros((8, 8, 1), np.uint8), np.full((8, 8, 1), 255, np.uint8)
    half = np.concatenate([black, white])
    assert stats(black) == {"brightness": 0, "contrast": 0, "sharpness": 0, "entropy": 0, "ink": 0}
    assert stats(white) == {"brightness": 1, "contrast": 0, "sharpness": 0, "entropy": 0, "ink": 1}
    assert stats(half)["brightness"] == stats(half)["contrast"] == stats(half)["ink"] == 0.5
    assert stats(half)["entropy"] == 1.0


def test_blur_takes_sharpness() -> None:
    sharp = noise(32, 32, 1)
    blurred = sum(np.roll(sharp.astype(int), shift, axis=1) for shift in (-1, 0, 1)) // 3
    assert stats(blurred.astype(np.uint8))["sharpness"] < stats(sharp)["sharpness"] / 2


def test_statistics_of_grey_do_not_depend_on_its_channels() -> None:
    grey = noise(16, 16, 1)
    np.testing.assert_array_equal(image_stats(grey), image_stats(np.repeat(grey, 3, axis=2)))


@pytest.mark.parametrize("shape", [(31, 17, 1), (31, 17, 3), (1, 1, 1), (2, 300, 3)])
def test_statistics_are_exact(shape: tuple[int, int, int]) -> None:
    pixels = noise(*shape)
    grey = np.round(pixels.astype(float) @ [0.299, 0.587, 0.114]) if shape[2] == 3 else pixels[:, :, 0].astype(float)
    padded = np.pad(grey, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    found = stats(pixels)
    # Luminance is rounded in fixed point: now and then another way than here.
    tolerance = {"abs": 0.002, "rel": 0.002} if shape[2] == 3 else {"rel": 1e-12}
    assert found["brightness"] == pytest.approx(grey.mean() / 255, **tolerance)
    assert found["contrast"] == pytest.approx(grey.std() / 255, **tolerance)
    assert found["sharpness"] == pytest.approx((around - 4 * grey).var() / 255**2, **tolerance)
    assert found["ink"] == pytest.approx((grey > 127).mean(), **tolerance)


def test_sift_describes_the_strongest_keypoints_first() -> None:
    pixels = blobs()
    few, many = (sift(pixels, Sift(kind="sift", keypoints=k)).reshape(k, DESCRIPTOR) for k in (3, 64))
    assert np.array_equal(few, many[:3])
    assert (few >= 0).all()
    there = (many >= 0).all(axis=1)
    assert 3 < there.sum() < 64
    assert (many[~there] == -1).all()
    assert np.array_equal(there, np.sort(there)[::-1]), "absent keypoints come last"


def test_sift_of_nothing_has_no_keypoint() -> None:
    for size in (1, 8, 64):
        assert (sift(np.full((size, size, 1), 7, np.uint8), Sift(kind="sift", keypoints=2)) == -1).all()


def test_sift_recognizes_a_turned_image() -> None:
    upright, turned = (sift(p, Sift(kind="sift", keypoints=8)).reshape(8, -1) for p in (blobs(), blobs()[::-1, ::-1]))
    distances = np.linalg.norm(upright[:, None] - turned[None], axis=2)
    assert np.median(distances.min(axis=1)) < 100 < np.median(distances)


def test_widths_and_names_are_those_of_the_vectors() -> None:
    image = Image(height=9, width=13, channels=3)
    features = (*BOTH, Sift(kind="sift", keypoints=2), NETWORK)
    vectors = extract(noise(*image.shape), features, {"network": Network()})
    assert {group: len(vector) for group, vector in vectors.items()} == widths(features, image, {"network": Network()})
    for group, dimensions in names(features, image, {"network": Network()}).items():
        assert len(set(dimensions)) == len(dimensions) == len(vectors[group])


def test_groups_are_called_by_their_names() -> None:
    fine, coarse = Hog(kind="hog", name="fine", cell=2), Hog(kind="hog", name="coarse", cell=4)
    vectors = extract(noise(8, 8, 1), (fine, coarse))
    assert {group: len(vector) for group, vector in vectors.items()} == {"fine": 144, "coarse": 36}


def test_a_table_feature_has_names_and_needs_no_image() -> None:
    feature = DateParts(kind="date_parts", columns=("sold", "paid"))
    dimensions = names([feature], None)["date_parts"]
    assert len(dimensions) == widths([feature], None)["date_parts"] > 2
    assert dimensions[0].startswith("sold") and dimensions[-1].startswith("paid")


def test_a_hog_name_says_where_its_value_comes_from() -> None:
    edge = np.zeros((8, 8, 1), np.uint8)
    edge[:, 4:] = 255
    image, feature = Image(height=8, width=8), Hog(kind="hog", cell=2, block=1)
    dimensions = names([feature], image)["hog"]
    voted = {dimensions[position] for position in np.flatnonzero(hog(edge, feature))}
    assert voted == {f"block_{row}_{column}.cell_0_0.bin_0" for row in range(4) for column in (1, 2)}


def test_an_image_too_small_for_a_block_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"features\.hog: a block is 16x16 pixels, the image 32x8") as caught:
        widths([Hog(kind="hog", cell=8, block=2)], Image(height=8, width=32))
    assert "smaller" in caught.value.fix


@given(pixels=st.sampled_from([(8, 8, 1), (4, 9, 3), (5, 5, 1)]).flatmap(lambda shape: arrays(np.uint8, shape)))
def test_any_image_gives_finite_numbers_twice_the_same(pixels: np.ndarray) -> None:
    features = (*BOTH, Sift(kind="sift", keypoints=3))
    once, twice = extract(pixels, features), extract(np.asfortranarray(pixels), features)
    for group, vector in once.items():
        assert vector.dtype == np.float32
        assert np.isfinite(vector).all()
        assert np.array_equal(vector, twice[group])
    assert once["image_stats"].min() >= 0
    assert once["hog"].max() <= 1
