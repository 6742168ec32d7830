"""The bootstrap: what it covers, what pairing is worth, and that it says the same twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from tasks.evaluation.intervals import Judged, differences, intervals, resample
from tasks.evaluation.metrics import of_classes, of_numbers

ROWS = 300
EVERY = np.arange(ROWS)


def _classifier(accuracy: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, ROWS)
    answered = np.where(random.random(ROWS) < accuracy, labels, (labels + 1) % 3)
    return labels, 0.1 + 0.7 * np.eye(3)[answered]


def test_the_interval_is_the_one_that_scipy_finds() -> None:
    labels, found = _classifier(0.8, 0)
    ours = intervals(resample({"a": Judged(of_classes(labels, found), EVERY)}, ROWS, 4000)["a"], 0.9)["accuracy"]
    right = (found.argmax(axis=1) == labels,)
    theirs = bootstrap(right, np.mean, n_resamples=4000, confidence_level=0.9, method="percentile", rng=1)
    assert ours == pytest.approx(list(theirs.confidence_interval), abs=0.008)


def test_an_interval_of_95_percent_covers_about_that() -> None:
    """Of 200 samples of a model that is right 70 times in 100."""
    covered = 0
    for seed in range(200):
        labels, found = _classifier(0.7, seed)
        samples = resample({None: Judged(of_classes(labels, found), EVERY)}, ROWS, 100)[None]
        low, high = intervals(samples, 0.95)["accuracy"]
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_the_same_answers_differ_by_nothing(seed: int) -> None:
    labels, found = _classifier(0.8, seed)
    samples = resample({name: Judged(of_classes(labels, found.copy()), EVERY) for name in "ab"}, ROWS, 100)
    assert set(map(tuple, differences(samples["a"], samples["b"], 0.95).values())) == {(0.0, 0.0)}


def test_pairing_shows_what_the_intervals_alone_do_not() -> None:
    """One model errs wherever the other does, and on nine rows more."""
    labels, worse = _classifier(0.8, 1)
    better = worse.copy()
    wrong = np.flatnonzero(worse.argmax(axis=1) != labels)[:9]
    better[wrong] = 0.1 + 0.7 * np.eye(3)[labels[wrong]]
    samples = resample({n: Judged(of_classes(labels, p), EVERY) for n, p in (("w", worse), ("b", better))}, ROWS, 1000)
    apart = {name: intervals(each, 0.95)["accuracy"] for name, each in samples.items()}
    assert apart["w"][1] > apart["b"][0], "they overlap"
    low, high = differences(samples["b"], samples["w"], 0.95)["accuracy"]
    assert 0 < low < 9 / ROWS < high


def test_it_says_the_same_twice_and_to_slices_what_it_says_to_the_whole() -> None:
    labels, found = _classifier(0.8, 2)
    some = EVERY[:40]
    judged = {
        "whole": Judged(of_classes(labels, found), EVERY),
        "some": Judged(of_classes(labels[:40], found[:40]), some),
    }
    first, second = (resample(judged, ROWS, 120) for _ in range(2))
    alone = resample({"some": judged["some"]}, ROWS, 120)
    for name in ("accuracy", "roc_auc"):
        assert np.array_equal(first["whole"][name], second["whole"][name])
        assert np.array_equal(first["some"][name], alone["some"][name])


def test_what_no_resample_defines_has_no_interval() -> None:
    labels, found = np.zeros(ROWS, int), np.tile([0.9, 0.1], (ROWS, 1))
    told = intervals(resample({0: Judged(of_classes(labels, found), EVERY)}, ROWS, 100)[0], 0.95)
    assert told["roc_auc"] is None and told["accuracy"] == [1.0, 1.0]


def test_a_slice_of_one_row_is_measured_where_it_was_drawn() -> None:
    labels, predicted = np.arange(ROWS, dtype=np.float32), np.arange(ROWS) + 2.0
    one = Judged(of_numbers(labels[:1], predicted[:1]), EVERY[:1])
    assert intervals(resample({0: one}, ROWS, 200)[0], 0.95)["mae"] == [2.0, 2.0]
