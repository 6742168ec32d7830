"""What augmentation may change, and that it changes the same for the same (seed, epoch, step, rank)."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.training.augmentation import augment
from tests.digits import project

STEPS, BATCH, SIDE = 3, 6, 8
EVERYTHING = {
    "flip": "both",
    "rotation": 30,
    "zoom": 0.2,
    "translation": 0.2,
    "contrast": 0.5,
    "brightness": 0.3,
    "mixup": 0.4,
    "cutmix": 1.0,
}


def _batches(first_epoch: int = 0, epochs: int = 2, pixels: Any = None) -> tf.data.Dataset:
    """The same rows in every epoch."""
    random = np.random.default_rng(0)
    shape = (STEPS, BATCH, SIDE, SIDE, 1)
    images = random.integers(0, 256, shape) if pixels is None else np.broadcast_to(pixels, shape)
    inputs = {"image": images.astype(np.uint8), "features": random.normal(size=(STEPS, BATCH, 4)).astype(np.float32)}
    labels = random.integers(0, 10, (STEPS, BATCH)).astype(np.int32)
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).repeat(epochs - first_epoch)


def _augmented(options: dict[str, Any], *, first_epoch: int = 0, rank: int = 0, seed: int = 3, **data: Any) -> list:
    spec = project({"training.augmentation": options, "training.seed": seed})
    batches = _batches(first_epoch, **data)
    return [tf.nest.map_structure(np.array, each) for each in augment(batches, spec, STEPS, first_epoch, rank)]


def _images(options: dict[str, Any], **data: Any) -> np.ndarray:
    """Every row's, in order."""
    return np.concatenate([inputs["image"] for inputs, *_ in _augmented(options, **data)])


def _equal(left: Any, right: Any) -> bool:
    return all(np.array_equal(*pair) for pair in zip(tf.nest.flatten(left), tf.nest.flatten(right), strict=True))


def test_without_options_nothing_stands_between_the_rows_and_the_model() -> None:
    data = _batches()
    assert augment(data, project(), STEPS, 0, 0) is data


@pytest.fixture(scope="module")
def everything() -> list:
    """Two epochs with all options on."""
    return _augmented(EVERYTHING)


def test_the_same_is_drawn_again_and_a_resumed_run_goes_on_with_it(everything: list) -> None:
    assert _equal(_augmented(EVERYTHING), everything)
    assert _equal(_augmented(EVERYTHING, first_epoch=1), everything[STEPS:])


def test_another_epoch_step_rank_or_seed_draws_something_else() -> None:
    one = np.arange(SIDE * SIDE).reshape(SIDE, SIDE, 1)
    steps = _augmented({"rotation": 90}, pixels=one)
    found = [steps, _augmented({"rotation": 90}, pixels=one, rank=1), _augmented({"rotation": 90}, pixels=one, seed=4)]
    drawn = [inputs["image"].tobytes() for run in found for inputs, _ in run]
    assert len(set(drawn)) == 3 * 2 * STEPS


def test_shapes_and_types_stay_but_for_the_labels(everything: list) -> None:
    inputs, labels = everything[0]
    assert inputs["image"].dtype == np.uint8 and inputs["image"].shape == (BATCH, SIDE, SIDE, 1)
    assert inputs["features"].dtype == np.float32 and inputs["features"].shape == (BATCH, 4)
    assert labels.dtype == np.float32 and labels.shape == (BATCH, 10)
    (_, plain), *_ = _augmented({"flip": "horizontal"})
    assert plain.dtype == np.int32 and plain.shape == (BATCH,)


@pytest.mark.parametrize(
    ("flip", "axes"), [("horizontal", {(2,)}), ("vertical", {(1,)}), ("both", {(1,), (2,), (1, 2)})]
)
def test_some_images_are_mirrored_and_the_others_stay(flip: str, axes: set[tuple[int, ...]]) -> None:
    before, after = _images({"flip": "none", "brightness": 0.0}), _images({"flip": flip}, epochs=4)
    before = np.concatenate([before, before])
    expected = {(): before} | {each: np.flip(before, each) for each in axes}
    seen = [{name for name, images in expected.items() if np.array_equal(images[row], after[row])} for row in range(72)]
    assert all(len(each) == 1 for each in seen)
    assert set.union(*seen) == {(), *axes}


def test_contrast_and_brightness_go_both_ways() -> None:
    halves = np.repeat([[100], [140]], SIDE * SIDE // 2).reshape(SIDE, SIDE, 1)
    spread = np.ptp(_images({"contrast": 0.5}, pixels=halves, epochs=4).astype(int), axis=(1, 2, 3))
    assert spread.min() < 35 and spread.max() > 45
    level = _images({"brightness": 0.2}, pixels=120, epochs=4).astype(int)
    assert np.ptp(level, axis=(1, 2, 3)).max() == 0, "an image becomes lighter as a whole"
    assert 120 - 51 <= level.min() < 110 and 130 < level.max() <= 120 + 51


def test_black_and_white_stay_within_what_a_pixel_can_be() -> None:
    halves = np.repeat([[0], [255]], SIDE * SIDE // 2).reshape(SIDE, SIDE, 1)
    found = _images({"contrast": 0.9, "brightness": 0.5}, pixels=halves, epochs=4)
    top, bottom = found[:, : SIDE // 2], found[:, SIDE // 2 :]
    assert (top <= bottom).all(), "a value beyond the range would come out at its other end"


def test_a_point_in_the_middle_is_rotated_and_zoomed_in_place_and_moved_by_translation() -> None:
    pixels = np.zeros((SIDE, SIDE, 1))
    pixels[3:5, 3:5] = 200
    where = np.argwhere(_images({"rotation": 180, "zoom": 0.1}, pixels=pixels) > 60)
    assert where[:, 1:3].min() >= 2 and where[:, 1:3].max() <= 5
    moved = _images({"translation": 0.3}, pixels=pixels)
    centers = {tuple(np.argwhere(image[..., 0] == image.max())[0]) for image in moved}
    assert len(centers) > 4


def test_draws_do_not_touch_the_generators_that_weights_and_dropout_come_from() -> None:
    import keras

    keras.utils.set_random_seed(1)
    alone = keras.random.uniform((3,)).numpy()
    keras.utils.set_random_seed(1)
    _augmented({"flip": "both", "zoom": 0.1, "mixup": 0.2}, epochs=1)
    assert np.array_equal(keras.random.uniform((3,)), alone)


@hypothesis_settings(max_examples=10)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "flip": st.sampled_from(["horizontal", "vertical", "both"]),
            "rotation": st.floats(0, 180),
            "zoom": st.floats(0, 0.9),
            "translation": st.floats(0, 0.9),
        },
    )
)
def test_geometry_of_an_even_image_is_that_image(options: dict[str, Any]) -> None:
    assert np.abs(_images(options, pixels=77, epochs=1).astype(int) - 77).max() <= 1
