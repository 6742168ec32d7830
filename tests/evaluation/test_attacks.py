"""Attacks stay in their ball and mislead the model; gradients are those of the model that was trained."""

from collections.abc import Callable
from functools import cache

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import layers

from tasks.evaluation.attacks import attacker, fgsm, pgd
from tasks.evaluation.gradients import PixelGradient, differentiable
from tasks.models.ensemble import join
from tests.looks import Looked, looked, untrained

PIXELS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(8), st.just(8), st.just(1)))


@pytest.fixture(scope="module")
def net() -> Looked:
    return looked()


@pytest.fixture(scope="module")
def gradient(net: Looked) -> PixelGradient:
    return PixelGradient(differentiable(net.model), loss=True)


def accuracy(net: Looked, pixels: np.ndarray) -> float:
    """Of the package, which computes the features anew."""
    found = net.predictor.predict(net.predictor.prepare_pixels(pixels))
    return float((found.argmax(axis=1) == net.test.labels).mean())


def test_they_mislead_the_model_the_more_steps_the_more(net: Looked) -> None:
    attack, rows = attacker(net.model, net.test, net.test_features, epsilon=0.2), np.arange(len(net.test))
    clean, once, often = (accuracy(net, p) for p in (net.test.images, attack("fgsm", rows), attack("pgd", rows)))
    assert clean > 0.8
    assert once < clean - 0.3
    assert often <= once
    noise = np.random.default_rng(0).integers(-51, 52, net.test.images.shape)
    assert accuracy(net, np.clip(net.test.images + noise, 0, 255).astype(np.uint8)) > once + 0.2


@pytest.mark.parametrize("attack", [fgsm, pgd])
@example_settings(max_examples=10)
@given(pixels=PIXELS, radius=st.integers(0, 40), label=st.integers(0, 9))
def test_no_pixel_leaves_the_ball(
    attack: Callable[..., np.ndarray], gradient: PixelGradient, pixels: np.ndarray, radius: int, label: int
) -> None:
    features, labels = np.zeros((len(pixels), 5), np.float32), np.full(len(pixels), label)
    found = attack(gradient, pixels, features, labels, radius)
    assert found.dtype == np.uint8 and found.shape == pixels.shape
    assert np.abs(found.astype(int) - pixels).max() <= radius
    assert np.array_equal(found, attack(gradient, pixels, features, labels, radius))


def test_the_ball_is_of_whole_levels(net: Looked) -> None:
    rows = np.arange(5)
    for epsilon, levels in ((8 / 255, 8), (0.0039, 0), (0.1, 25)):
        found = attacker(net.model, net.test, net.test_features, epsilon)("fgsm", rows)
        assert np.abs(found.astype(int) - net.test.images[rows]).max() == levels


def test_of_a_linear_model_both_find_the_worst_image_of_the_ball() -> None:
    image, features = keras.Input((4, 4, 1), dtype="uint8", name="image"), keras.Input((1,), name="features")
    flat = layers.Flatten()(layers.Rescaling(1 / 255, dtype="float32")(image))
    model = keras.Model([image, features], layers.Dense(2)(layers.Concatenate()([flat, features])))
    pixels = np.full((1, 4, 4, 1), 100, np.uint8)
    slope = np.diff(model.get_weights()[0][:16], axis=1).reshape(1, 4, 4, 1)
    gradient, nothing = PixelGradient(differentiable(model), loss=True), np.zeros((1, 1), np.float32)
    for attack in (fgsm, pgd):
        found = attack(gradient, pixels, nothing, np.zeros(1, int), 7)
        assert np.array_equal(found, 100 + 7 * np.sign(slope))


@cache
def networks() -> dict[str, keras.Model]:
    """Networks of several kinds, as they are saved."""
    spec, first = untrained(family="convnet", filters=[4])
    _, second = untrained(family="vit", patch=2, width=8, heads=2)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        _, half = untrained(family="convnet", filters=[4])
    finally:
        keras.config.set_dtype_policy("float32")
    recurrent = untrained(family="lstm", width=8)[1]
    return {"vit": second, "lstm": recurrent, "half": half, "ensemble": join(spec, [first, untrained(family="mlp")[1]])}


@pytest.mark.parametrize("kind", ["vit", "lstm", "half", "ensemble"])
def test_the_differentiable_copy_answers_as_the_model_does_and_has_a_gradient(kind: str, net: Looked) -> None:
    model = networks()[kind]
    given = {"image": net.test.images[:4], "features": net.test_features[:4].astype(np.float32)}
    copy = differentiable(model)
    expected = np.asarray(model(given, training=False), np.float64)
    found = np.asarray(copy(given | {"image": given["image"].astype(np.float32)}, training=False))
    np.testing.assert_allclose(found, expected, atol=2e-3 if kind == "half" else 1e-5)
    classes = np.zeros(4, int)
    slope = PixelGradient(copy, loss=False)(given["image"], given["features"], classes)
    assert slope.shape == given["image"].shape and (np.abs(slope).max(axis=(1, 2, 3)) > 0).all()
