"""Reliability, and what a temperature makes of a model that is too sure of itself."""

import pytest

from tasks.evaluation.calibration import calibration, reliability
from tasks.evaluation.metrics import measure
from tests.sure import sampled


@pytest.mark.parametrize("is_served", [False, True])
def test_a_model_that_is_too_sure_is_mended(is_served: bool) -> None:
    labels, probabilities = sampled(4000, 3, 3.0)
    told = calibration(labels, probabilities, 3.0, fitted_on=500, is_served=is_served)
    assert (told["temperature"], told["fitted_on"]) == (3, 500)
    assert told["as_served"] == ("tempered" if is_served else "untempered")
    assert told["untempered"]["calibration_error"] > 0.15 > 0.03 > told["tempered"]["calibration_error"]
    assert told["tempered"]["log_loss"] < told["untempered"]["log_loss"]
    assert told["untempered"]["calibration_error"] == measure(labels, probabilities)["calibration_error"]


def test_the_bins_tell_the_calibration_error() -> None:
    labels, probabilities = sampled(500, 5, 2.0)
    bins = reliability(labels, probabilities)
    assert sum(each["rows"] for each in bins) == 500
    assert all(each["low"] < each["confidence"] <= each["high"] for each in bins)
    error = sum(each["rows"] / 500 * abs(each["accuracy"] - each["confidence"]) for each in bins)
    assert error == pytest.approx(measure(labels, probabilities)["calibration_error"], abs=1e-5)
