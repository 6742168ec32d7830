"""One number that mends a classifier that is too sure of itself, or not sure enough."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from tasks.runtime.predictor import SIGNATURE, Predictor
from tasks.runtime.temperature import fit_temperature, tempered
from tests.packages import people, write_package
from tests.sure import sampled


def _loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(sharper: float) -> None:
    labels, probabilities = sampled(20_000, 0, sharper)
    assert fit_temperature(labels, probabilities) == pytest.approx(sharper, rel=0.05)


@given(st.integers(0, 10_000), st.floats(0.3, 4))
@settings(max_examples=15)
def test_no_other_temperature_makes_the_labels_likelier(seed: int, sharper: float) -> None:
    labels, probabilities = sampled(200, seed, sharper)

    def loss(temperature: float) -> float:
        return _loss(labels, tempered(probabilities, temperature))

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6}).fun
    found = loss(fit_temperature(labels, probabilities))
    assert found == pytest.approx(best, abs=1e-6) and found <= _loss(labels, probabilities)


@given(st.integers(0, 10_000), st.floats(0.05, 20))
@settings(max_examples=30)
def test_it_changes_no_order_and_rows_still_add_up_to_one(seed: int, temperature: float) -> None:
    probabilities = sampled(50, seed, 2.0)[1].astype(np.float32)
    found = tempered(probabilities, temperature)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    # What a high temperature brings closer than single precision can tell may become equal, and never changes places.
    order = probabilities.argsort(axis=1)
    assert (np.diff(np.take_along_axis(found, order, axis=1), axis=1) >= 0).all()
    np.testing.assert_allclose(tempered(probabilities, 1.0), probabilities, rtol=1e-6)


def test_a_certain_answer_stays_a_number() -> None:
    assert np.isfinite(tempered(np.array([[1.0, 0.0]]), 0.05)).all()


def test_a_model_that_is_always_right_gets_the_lowest_temperature() -> None:
    assert fit_temperature(np.array([0, 1]), np.array([[0.9, 0.1], [0.1, 0.9]])) == pytest.approx(0.05, rel=1e-6)


def test_a_package_answers_at_its_temperature(tmp_path: Path) -> None:
    """The tiny package's logits are linear in its steepness: half as steep is the same as twice as hot."""
    write_package(tmp_path / "steep", name="people", temperature=2.0)
    write_package(tmp_path / "flat", name="people", steepness=4.0)
    steep, flat = (Predictor.load(tmp_path / name) for name in ("steep", "flat"))
    found = steep.predict_rows(people(300))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, flat.predict_rows(people(300)), atol=1e-6)
    rows = steep.prepare_rows(people(300))
    np.testing.assert_allclose(steep.predict(rows), tempered(steep.untempered(rows), 2.0))


def test_a_package_of_before_temperatures_answers_as_its_graph_does(tmp_path: Path) -> None:
    write_package(tmp_path, name="people")
    described = json.loads((tmp_path / SIGNATURE).read_text())
    del described["temperature"]
    (tmp_path / SIGNATURE).write_text(json.dumps(described))
    predictor = Predictor.load(tmp_path)
    rows = predictor.prepare_rows(people(20))
    assert np.array_equal(predictor.predict(rows), predictor.untempered(rows))
