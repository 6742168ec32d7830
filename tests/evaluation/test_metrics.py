"""Our measures are scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    mean_absolute_error,
    r2_score,
    recall_score,
    root_mean_squared_error,
)

from tasks.evaluation.metrics import confusion, measure, measure_numbers

CLASSES = 4


@given(st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_measures_agree_with_scikit_learn(labels: list[int], seed: int) -> None:
    true = np.array(labels)
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(CLASSES), len(labels))
    predicted = probabilities.argmax(axis=1)
    found = measure(true, probabilities)
    assert abs(found["accuracy"] - accuracy_score(true, predicted)) < 1e-6
    recall = recall_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0)
    assert abs(found["balanced_accuracy"] - recall) < 1e-6
    assert abs(found["log_loss"] - log_loss(true, probabilities, labels=range(CLASSES))) < 1e-3
    assert (confusion(true, predicted, CLASSES) == confusion_matrix(true, predicted, labels=range(CLASSES))).all()


def test_a_rare_class_weighs_as_much_as_a_common_one() -> None:
    labels = np.array([0] * 9 + [1])
    always_zero = np.tile([1.0, 0.0], (10, 1))
    found = measure(labels, always_zero)
    assert found["accuracy"] == 0.9
    assert found["balanced_accuracy"] == 0.5


def test_certain_and_wrong_is_finite() -> None:
    assert 10 < measure(np.array([1]), np.array([[1.0, 0.0]]))["log_loss"] < 20


FINITE = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=40))
def test_measures_of_numbers_agree_with_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    true, predicted = np.array(pairs, np.float32).T
    found = measure_numbers(true, predicted)
    wide = true.astype(np.float64)
    assert found["mae"] == pytest.approx(mean_absolute_error(wide, predicted), rel=1e-5)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(wide, predicted), rel=1e-5)
    assert found["r2"] == pytest.approx(r2_score(wide, predicted), rel=1e-5, abs=1e-6)


def test_small_units_are_measured_as_well_as_large_ones() -> None:
    true = np.array([1e-9, 2e-9, 3e-9], np.float32)
    assert measure_numbers(true, true * 2)["mae"] == pytest.approx(2e-9, rel=1e-5)


def test_the_mean_explains_nothing() -> None:
    true = np.array([1, 2, 6], np.float32)
    assert measure_numbers(true, np.full(3, 3.0))["r2"] == 0
    assert measure_numbers(true, true) == {"mae": 0, "rmse": 0, "r2": 1}
