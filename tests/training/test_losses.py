"""Losses and measures against their formulas in NumPy."""

from typing import Any

import numpy as np
import pytest

from tasks.training.losses import make_loss, make_metric
from tests.training.skewed import project
from tests.training.test_targets import regression

LABELS = np.array([0, 2, 1, 2], np.int32)
LOGITS = np.array([[2, 0, -1], [0.5, 0, 1], [-30, 40, -30], [60, 0, -60]], np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
SHARES = np.array([[0.7, 0.3, 0], [0, 0, 1], [0.2, 0.8, 0], [0.5, 0, 0.5]], np.float32)
NUMBERS, GUESSES = np.array([0, 1, -2, 5], np.float32), np.array([[0.5], [1], [1], [1]], np.float32)


def _logs(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    top = logits.max(1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))


def _expected(loss: str, shares: np.ndarray, smooth: float = 0, gamma: float = 0) -> np.ndarray:
    logs = _logs(LOGITS)
    error = shares - np.exp(logs)
    smoothed = shares * (1 - smooth) + smooth / 3
    formulas = {
        "cross_entropy": -smoothed * logs,
        "focal": -smoothed * (1 - np.exp(logs)) ** gamma * logs,
        "mse": error**2,
        "mae": np.abs(error),
        "huber": np.where(np.abs(error) <= 0.4, error**2 / 2, 0.4 * (np.abs(error) - 0.2)),
    }
    return formulas[loss].sum(1)


@pytest.mark.parametrize("labels", [LABELS, ONE_HOT, SHARES], ids=["numbers", "one-hot", "shares"])
@pytest.mark.parametrize(
    ("loss", "smooth", "gamma"),
    [("cross_entropy", 0, 0), ("cross_entropy", 0.1, 0), ("focal", 0, 2), ("focal", 0.1, 0.5)]
    + [(loss, 0, 0) for loss in ("mse", "mae", "huber")],
)
def test_losses_over_classes(loss: str, smooth: float, gamma: float, labels: np.ndarray) -> None:
    options = {"loss": loss, "label_smoothing": smooth, "focal_gamma": gamma, "huber_delta": 0.4}
    spec = project({f"training.{name}": value for name, value in options.items()})
    shares = ONE_HOT if labels.ndim == 1 else labels
    expected = _expected(loss, shares, smooth, gamma)
    np.testing.assert_allclose(make_loss(spec, reduction=None)(labels, LOGITS), expected, rtol=1e-5, atol=1e-5)
    weights = np.array([1, 2, 0, 1], np.float32)
    found = make_loss(spec)(labels, LOGITS, weights)
    np.testing.assert_allclose(found, (expected * weights).mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_of_a_certain_prediction_has_a_derivative(gamma: float) -> None:
    import tensorflow as tf

    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        loss = make_loss(project({"training.loss": "focal", "training.focal_gamma": gamma}))(LABELS, logits)
    assert np.isfinite(tape.gradient(loss, logits)).all()


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        ("mse", lambda error: error**2),
        ("mae", np.abs),
        ("huber", lambda error: np.where(np.abs(error) <= 2, error**2 / 2, 2 * (np.abs(error) - 1))),
    ],
)
def test_losses_of_numbers(loss: str, formula: Any) -> None:
    spec = regression(**{"training.loss": loss, "training.huber_delta": 2.0})
    expected = formula(NUMBERS - GUESSES[:, 0])
    np.testing.assert_allclose(make_loss(spec, reduction=None)(NUMBERS, GUESSES), expected, rtol=1e-6)
    np.testing.assert_allclose(make_loss(spec)(NUMBERS, GUESSES), expected.mean(), rtol=1e-6)


def test_float16_logits_are_compared_in_float32() -> None:
    assert make_loss(project())(LABELS, LOGITS.astype(np.float16)).dtype == "float32"


def test_accuracy_counts_rows_by_either_kind_of_label() -> None:
    for labels in (LABELS, ONE_HOT):
        metric = make_metric(project())
        metric.update_state(labels, LOGITS)
        assert (metric.name, float(metric.result())) == ("accuracy", 0.75)


def test_r2_is_the_share_of_variance_explained_over_all_batches() -> None:
    metric = make_metric(regression())
    for part in (slice(0, 1), slice(1, 4)):
        metric.update_state(NUMBERS[part], GUESSES[part])
    residual = ((NUMBERS - GUESSES[:, 0]) ** 2).sum()
    expected = 1 - residual / ((NUMBERS - NUMBERS.mean()) ** 2).sum()
    assert metric.name == "r2"
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_r2_of_labels_that_are_all_the_same_is_a_number() -> None:
    metric = make_metric(regression())
    metric.update_state(np.zeros(3, np.float32), np.ones((3, 1), np.float32))
    assert float(metric.result()) == 0
