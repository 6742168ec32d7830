"""The features: scikit-image's HOG, statistics that mean what they are called, and numbers for any image at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.feature import hog as reference_hog

from tasks.core.errors import BadInput
from tasks.core.spec import Hog, Image, ImageStats
from tasks.runtime.extractors import STATS, extract, hog, image_stats, names, widths

BOTH = (ImageStats(kind="image_stats"), Hog(kind="hog", cell=2, block=2))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


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


def test_statistics_are_those_that_numpy_gives() -> None:
    pixels = noise(31, 17, 1)
    found, scaled = stats(pixels), pixels / 255
    assert found["brightness"] == pytest.approx(scaled.mean())
    assert found["contrast"] == pytest.approx(scaled.std())
    assert 0 < found["entropy"] <= 8


def test_widths_and_names_are_those_of_the_vectors() -> None:
    image = Image(height=9, width=13, channels=3)
    vectors = extract(noise(*image.shape), BOTH)
    assert {kind: len(vector) for kind, vector in vectors.items()} == widths(BOTH, image)
    for kind, dimensions in names(BOTH, image).items():
        assert len(set(dimensions)) == len(dimensions) == len(vectors[kind])


def test_a_hog_name_says_where_its_value_comes_from() -> None:
    edge = np.zeros((8, 8, 1), np.uint8)
    edge[:, 4:] = 255
    image, feature = Image(height=8, width=8), Hog(kind="hog", cell=2, block=1)
    dimensions = names([feature], image)["hog"]
    voted = {dimensions[position] for position in np.flatnonzero(hog(edge, feature))}
    assert voted == {f"block_{row}_{column}.cell_0_0.bin_0" for row in range(4) for column in (1, 2)}


def test_an_image_too_small_for_a_block_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"features\.hog: a block is 16x16 pixels") as caught:
        widths([Hog(kind="hog", cell=8, block=2)], Image(height=8, width=32))
    assert "smaller" in caught.value.fix


@given(pixels=st.sampled_from([(8, 8, 1), (4, 9, 3), (5, 5, 1)]).flatmap(lambda shape: arrays(np.uint8, shape)))
def test_any_image_gives_finite_numbers_twice_the_same(pixels: np.ndarray) -> None:
    once, twice = extract(pixels, BOTH), extract(np.asfortranarray(pixels), BOTH)
    for kind, vector in once.items():
        assert vector.dtype == np.float32
        assert np.isfinite(vector).all()
        assert np.array_equal(vector, twice[kind])
    assert once["image_stats"].min() >= 0
    assert once["hog"].max() <= 1
