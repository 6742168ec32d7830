"""Reliability, and the temperature that mends a model that is too sure of itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from tasks.evaluation.calibration import calibration, reliability
from tasks.evaluation.metrics import measure
from tasks.evaluation.temperature import fit_temperature, logarithms, tempered


def _sampled(rows: int, seed: int, sharper: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities, and those of a model whose logits are ``sharper`` times theirs."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (rows, 4))
    true = _softmax(logits)
    labels = (true.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1)
    return labels, _softmax(logits * sharper)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(sharper: float) -> None:
    labels, probabilities = _sampled(20_000, 0, sharper)
    assert fit_temperature(labels, logarithms(probabilities)) == pytest.approx(sharper, rel=0.05)


@given(st.integers(0, 10_000), st.floats(0.3, 4))
@settings(max_examples=15)
def test_no_other_temperature_makes_the_labels_likelier(seed: int, sharper: float) -> None:
    labels, probabilities = _sampled(200, seed, sharper)

    def loss(temperature: float) -> float:
        return float(-np.log(tempered(probabilities, temperature)[np.arange(200), labels]).mean())

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6}).fun
    assert loss(fit_temperature(labels, logarithms(probabilities))) == pytest.approx(best, abs=1e-6)


def test_temperature_one_changes_nothing_and_none_moves_a_label() -> None:
    _, probabilities = _sampled(100, 1, 2.0)
    np.testing.assert_allclose(tempered(probabilities, 1.0), probabilities, atol=1e-12)
    assert (tempered(probabilities, 5.0).argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert np.isfinite(tempered(np.array([[1.0, 0.0]]), 0.05)).all()


def test_a_model_that_is_always_right_gets_the_lowest_temperature() -> None:
    assert fit_temperature(np.array([0, 1]), np.array([[2.0, 0.0], [0.0, 2.0]])) == pytest.approx(0.05, rel=1e-6)


def test_a_model_that_is_too_sure_is_mended() -> None:
    labels, probabilities = _sampled(4000, 3, 3.0)
    held, held_probabilities = _sampled(4000, 4, 3.0)
    told = calibration(labels, probabilities, held, held_probabilities)
    assert told["temperature"] == pytest.approx(3, rel=0.1) and told["fitted_on"] == 4000
    assert told["calibration_error"] > 0.15 > 0.03 > told["tempered"]["calibration_error"]
    assert told["tempered"]["log_loss"] < told["log_loss"]
    assert told["calibration_error"] == measure(labels, probabilities)["calibration_error"]


def test_the_bins_tell_the_calibration_error() -> None:
    labels, probabilities = _sampled(500, 5, 2.0)
    bins = reliability(labels, probabilities)
    assert sum(each["rows"] for each in bins) == 500
    assert all(each["low"] < each["confidence"] <= each["high"] for each in bins)
    error = sum(each["rows"] / 500 * abs(each["accuracy"] - each["confidence"]) for each in bins)
    assert error == pytest.approx(measure(labels, probabilities)["calibration_error"], abs=1e-5)
