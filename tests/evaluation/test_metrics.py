"""Our measures are scikit-learn's, of rows that count once or several times."""

from collections.abc import Mapping
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)

from tasks.core.spec import ClassMetric, Footprint, NumberMetric
from tasks.evaluation.metrics import (
    BINS,
    HIGHER_IS_BETTER,
    confusion,
    measure,
    measure_numbers,
    of_classes,
    of_numbers,
)

CLASSES = 4
LABELS = st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=40)
SEEDS = st.integers(0, 2**32 - 1)


def _oracle(true: np.ndarray, probabilities: np.ndarray, times: np.ndarray) -> dict[str, float]:
    """scikit-learn's, of each row as often as ``times`` says."""
    true, probabilities = np.repeat(true, times), np.repeat(probabilities, times, axis=0)
    predicted, present = probabilities.argmax(axis=1), np.unique(true)
    found = {
        "accuracy": accuracy_score(true, predicted),
        "balanced_accuracy": recall_score(true, predicted, labels=present, average="macro", zero_division=0),
        "f1": f1_score(true, predicted, average="macro", zero_division=0),
        "log_loss": log_loss(true, probabilities, labels=range(CLASSES)),
        "calibration_error": _calibration_error(true, probabilities),
    }
    if len(present) > 1:
        each = [(true == label, probabilities[:, label]) for label in present]
        found["roc_auc"] = np.mean([roc_auc_score(*one) for one in each])
        found["pr_auc"] = np.mean([average_precision_score(*one) for one in each])
    return found


def _calibration_error(true: np.ndarray, probabilities: np.ndarray) -> float:
    """By the book: 15 equally wide bins, closed at their upper end."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    error = 0.0
    for number in range(BINS):
        inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def _probabilities(seed: int, rows: int, ties: bool) -> np.ndarray:
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(CLASSES), rows)
    return np.round(shares * 4 + 0.5) / np.round(shares * 4 + 0.5).sum(axis=1, keepdims=True) if ties else shares


def _agree(found: Mapping[str, float | None], expected: Mapping[str, float]) -> None:
    assert {name for name, value in found.items() if value is not None and not np.isnan(value)} == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-6), name


@given(LABELS, SEEDS, st.booleans())
@settings(max_examples=50)
def test_measures_agree_with_scikit_learn(labels: list[int], seed: int, ties: bool) -> None:
    true, probabilities = np.array(labels), _probabilities(seed, len(labels), ties)
    _agree(measure(true, probabilities), _oracle(true, probabilities, np.ones(len(true), int)))
    predicted = probabilities.argmax(axis=1)
    assert (confusion(true, predicted, CLASSES) == confusion_matrix(true, predicted, labels=range(CLASSES))).all()


@given(LABELS, SEEDS, st.booleans())
@settings(max_examples=30)
def test_a_row_that_counts_twice_is_two_rows(labels: list[int], seed: int, ties: bool) -> None:
    true, probabilities = np.array(labels), _probabilities(seed, len(labels), ties)
    times = np.random.default_rng(seed).integers(0, 4, (len(true), 2))
    times[0, :] = np.maximum(times[0, :], 1)
    found = of_classes(true, probabilities)(times.astype(float))
    for resample in range(2):
        _agree({name: v[resample] for name, v in found.items()}, _oracle(true, probabilities, times[:, resample]))


def test_every_measure_of_the_spec_is_measured() -> None:
    classes = measure(np.array([0, 1]), np.eye(2))
    assert set(classes) == set(get_args(ClassMetric)) and None not in classes.values()
    assert set(measure_numbers(np.arange(3), np.arange(3))) == set(get_args(NumberMetric))
    every = {name for kind in (ClassMetric, NumberMetric, Footprint) for name in get_args(kind)}
    assert every == HIGHER_IS_BETTER.keys()


def test_what_is_not_defined_is_not_made_up() -> None:
    alone = measure(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    assert alone["roc_auc"] is alone["pr_auc"] is None and alone["accuracy"] == 0.5
    assert set(measure(np.zeros(0, int), np.zeros((0, 2))).values()) == {None}
    assert set(measure_numbers(np.zeros(0), np.zeros(0)).values()) == {None}


def test_nothing_is_known_of_a_model_that_answers_no_numbers() -> None:
    assert set(measure(np.array([0, 1]), np.array([[1, 0], [np.nan, np.nan]])).values()) == {None}
    assert set(measure_numbers(np.array([0, 1]), np.array([0, np.inf])).values()) == {None}


def test_a_model_that_is_as_sure_as_right_has_no_calibration_error() -> None:
    labels = np.array([0, 0, 0, 1] * 10)
    assert measure(labels, np.tile([0.75, 0.25], (40, 1)))["calibration_error"] == 0
    assert measure(labels, np.tile([0.95, 0.05], (40, 1)))["calibration_error"] == pytest.approx(0.2)


def test_a_rare_class_weighs_as_much_as_a_common_one() -> None:
    labels = np.array([0] * 9 + [1])
    always_zero = np.tile([1.0, 0.0], (10, 1))
    found = measure(labels, always_zero)
    assert found["accuracy"] == 0.9
    assert found["balanced_accuracy"] == 0.5


def test_certain_and_wrong_is_finite() -> None:
    assert 10 < measure(np.array([1]), np.array([[1.0, 0.0]]))["log_loss"] < 20


FINITE = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=40), SEEDS)
def test_measures_of_numbers_agree_with_scikit_learn(pairs: list[tuple[float, float]], seed: int) -> None:
    true, predicted = np.array(pairs, np.float32).T
    _agree_numbers(measure_numbers(true, predicted), true, predicted)
    times = np.random.default_rng(seed).integers(1, 4, (len(true), 1))
    found = of_numbers(true, predicted)(times.astype(float))
    _agree_numbers(
        {name: v[0] for name, v in found.items()},
        *(np.repeat(each, times[:, 0]) for each in np.array(pairs, np.float32).T),
    )


def _agree_numbers(found: Mapping[str, float | None], true: np.ndarray, predicted: np.ndarray) -> None:
    wide = true.astype(np.float64)
    assert found["mae"] == pytest.approx(mean_absolute_error(wide, predicted), rel=1e-5)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(wide, predicted), rel=1e-5)
    assert found["r2"] == pytest.approx(r2_score(wide, predicted), rel=1e-4, abs=1e-6)


def test_small_units_are_measured_as_well_as_large_ones() -> None:
    true = np.array([1e-9, 2e-9, 3e-9], np.float32)
    assert measure_numbers(true, true * 2)["mae"] == pytest.approx(2e-9, rel=1e-5)


def test_the_mean_explains_nothing() -> None:
    true = np.array([1, 2, 6], np.float32)
    assert measure_numbers(true, np.full(3, 3.0))["r2"] == 0
    assert measure_numbers(true, true) == {"mae": 0, "rmse": 0, "r2": 1}
