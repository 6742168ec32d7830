"""MixUp and CutMix: labels say what the inputs hold."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.core.spec import Project
from tasks.training.augmentation import augment
from tests.digits import project

ROWS, HEIGHT, WIDTH = 10, 12, 7


def _spec(**augmentation: float) -> Project:
    return project({"training.augmentation": augmentation})


def _regression(**augmentation: float) -> Project:
    gates = [{"metric": "mae", "max": 1.0}]
    changed = {"task": "image_regression", "classes": [], "gates": gates, "training.augmentation": augmentation}
    return Project.model_validate(_nested(changed))


def _nested(changed: dict[str, Any]) -> dict[str, Any]:
    values = project().model_dump(mode="json")
    values["training"]["augmentation"] = changed.pop("training.augmentation")
    return values | {"tuning": {}} | changed


def _mixed(spec: Project, labels: np.ndarray | None = None, weights: np.ndarray | None = None) -> Any:
    """One batch in which row n is white where every other row is black at its time: features and pixels name rows."""
    features = np.eye(ROWS, dtype=np.float32)
    image = np.zeros((ROWS, HEIGHT, WIDTH, ROWS), np.uint8)
    image[np.arange(ROWS), :, :, np.arange(ROWS)] = 255
    labels = np.arange(ROWS, dtype=np.int32) if labels is None else labels
    batch = ({"image": image, "features": features}, labels, *(() if weights is None else (weights,)))
    data = augment(tf.data.Dataset.from_tensors(batch), spec, 1, 0, 0)
    return tf.nest.map_structure(np.array, next(iter(data)))


@hypothesis_settings(max_examples=10)
@given(alpha=st.floats(0.01, 5))
def test_mixup_blends_pixels_features_and_labels_alike(alpha: float) -> None:
    inputs, labels = _mixed(_spec(mixup=alpha))
    assert np.allclose(labels.sum(1), 1, atol=1e-6) and (labels >= 0).all()
    assert ((labels > 0).sum(1) <= 2).all() and (np.diag(labels) >= 0).all()
    assert np.allclose(inputs["features"], labels, atol=1e-6)
    assert np.abs(inputs["image"] / 255 - labels[:, None, None, :]).max() <= 0.5 / 255 + 1e-6


@hypothesis_settings(max_examples=10)
@given(alpha=st.floats(0.01, 5))
def test_cutmix_gives_a_label_the_share_of_the_pixels_that_it_has(alpha: float) -> None:
    inputs, labels = _mixed(_spec(cutmix=alpha))
    assert set(np.unique(inputs["image"])) <= {0, 255}
    assert np.allclose(inputs["image"].mean((1, 2)) / 255, labels, atol=1e-6)
    assert np.allclose(inputs["features"], labels, atol=1e-6)


def test_cutmix_cuts_one_box_of_its_partner() -> None:
    inputs, _ = _mixed(_spec(cutmix=1.0))
    cut = np.stack([inputs["image"][row, :, :, row] == 0 for row in range(ROWS)])
    assert 0 < cut.sum() < cut.size
    for row in cut[cut.any((1, 2))]:
        box = row[np.ix_(row.any(1), row.any(0))]
        assert box.all()


def test_with_both_a_batch_takes_one_of_them() -> None:
    spec = _spec(mixup=1.0, cutmix=1.0)
    inputs = {
        "image": np.repeat(np.array([0, 255], np.uint8), 96).reshape(2, 8, 12, 1),
        "features": np.eye(2, dtype=np.float32),
    }
    data = tf.data.Dataset.from_tensors((inputs, np.arange(2, dtype=np.int32))).repeat(24)
    blended = [
        bool(((values := inputs["image"].numpy()) > 0).any() and (values[values > 0] < 255).any())
        for inputs, _ in augment(data, spec, 24, 0, 0)
    ]
    assert 3 < sum(blended) < 21


def test_a_regression_mixes_its_numbers() -> None:
    numbers = np.arange(ROWS).astype(np.float32) * 10
    inputs, labels = _mixed(_regression(mixup=0.5), numbers)
    assert labels.shape == (ROWS,)
    assert not np.allclose(labels, numbers)
    assert np.allclose(labels, inputs["features"] @ numbers, atol=1e-4)


def test_weights_keep_each_label_its_part_of_the_loss() -> None:
    weights = np.linspace(0.1, 4, ROWS).astype(np.float32)
    inputs, labels, mixed = _mixed(_spec(mixup=0.5), weights=weights)
    assert np.allclose(labels.sum(1), 1, atol=1e-6)
    assert np.allclose(labels * mixed[:, None], inputs["features"] * weights, atol=1e-5)


def test_rows_without_weight_mix_to_rows_without_weight() -> None:
    _, labels, mixed = _mixed(_spec(mixup=0.5), weights=np.zeros(ROWS, np.float32))
    assert not mixed.any() and np.allclose(labels.sum(1), 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_table_is_mixed_as_well(weighted: bool) -> None:
    features, labels = np.eye(ROWS, dtype=np.float32), np.arange(ROWS, dtype=np.int32)
    batch = ({"features": features}, labels, *([np.ones(ROWS, np.float32)] if weighted else []))
    inputs, mixed, *weights = next(iter(augment(tf.data.Dataset.from_tensors(batch), _spec(mixup=0.5), 1, 0, 0)))
    assert set(inputs) == {"features"}
    assert np.allclose(inputs["features"], mixed, atol=1e-6) and not np.allclose(mixed, np.eye(ROWS))
    assert not weighted or np.allclose(weights[0], 1)
