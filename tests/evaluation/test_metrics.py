"""Our measures are scikit-learn's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, recall_score

from tasks.evaluation.metrics import confusion, measure

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
