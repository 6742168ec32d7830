"""The baseline and its stability index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.runtime.baseline import Baseline, stability, summarize, watched
from tests.packages import project

RNG = np.random.default_rng(0)


def _baseline(column: np.ndarray) -> Baseline:
    return summarize({"f": column[:, None]}, {"f": ("x",)})


def _psi(baseline: Baseline, column: np.ndarray) -> float:
    return stability(baseline, {"f": column[:, None]})["f.x"]


COLUMNS = arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32))


@given(COLUMNS, COLUMNS)
def test_any_two_columns_have_an_index_from_zero_and_finite(column: np.ndarray, other: np.ndarray) -> None:
    baseline = _baseline(column)
    (dimension,) = baseline.features["f"]
    assert sum(dimension.counts) == len(column)
    assert 0 <= _psi(baseline, other) < np.inf
    assert Baseline.model_validate_json(baseline.model_dump_json()) == baseline


def test_the_same_distribution_is_near_zero_and_a_shift_is_not() -> None:
    baseline = _baseline(RNG.normal(size=2000))
    assert _psi(baseline, RNG.normal(size=2000)) < 0.05
    shifts = [_psi(baseline, RNG.normal(size=2000) + shift) for shift in (0.5, 1.0, 2.0)]
    assert shifts == sorted(shifts) and shifts[0] > 0.2


def test_known_proportions_give_the_textbook_value() -> None:
    """Two atoms, 50:50 against 80:20: (0.8 - 0.5) ln(0.8 / 0.5) + (0.2 - 0.5) ln(0.2 / 0.5)."""
    baseline = _baseline(np.repeat([0.0, 1.0], 100_000))
    index = _psi(baseline, np.repeat([0.0, 1.0], [80_000, 20_000]))
    assert index == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4), rel=1e-3)


@pytest.mark.parametrize("moved", [-1.0, 1.0])
def test_a_constant_dimension_that_moves_is_seen(moved: float) -> None:
    baseline = _baseline(np.zeros(1000))
    assert _psi(baseline, np.zeros(500)) < 0.02
    assert _psi(baseline, np.full(500, moved)) > 1


def test_values_that_occur_again_and_again_are_counted_apart_from_their_neighbours() -> None:
    mixed = np.concatenate([np.zeros(500), RNG.uniform(0, 1, 500)])
    assert _psi(_baseline(mixed), np.where(mixed == 0, 1e-3, mixed)) > 0.5


def test_a_single_row_does_not_look_far_away() -> None:
    assert _psi(_baseline(RNG.normal(size=1000)), np.zeros(1)) < 0.2


def test_missing_numbers_are_a_bin_of_their_own() -> None:
    mixed = np.where(RNG.random(2000) < 0.1, np.nan, RNG.normal(size=2000))
    baseline = _baseline(mixed)
    assert _psi(baseline, RNG.permutation(mixed)) < 0.01
    assert _psi(baseline, np.array([None if np.isnan(x) else x for x in mixed], object)) < 0.01, "as the log has it"
    assert _psi(baseline, np.where(RNG.random(2000) < 0.5, np.nan, mixed)) > 0.2


def test_a_column_that_was_always_missing_and_now_is_there_is_seen() -> None:
    baseline = _baseline(np.full(500, np.nan))
    assert _psi(baseline, np.full(500, np.nan)) < 0.02
    assert _psi(baseline, np.zeros(500)) > 1


STRINGS = st.lists(st.text(max_size=3), min_size=1, max_size=60).map(lambda values: np.array(values, object))


@given(STRINGS, STRINGS)
def test_any_two_columns_of_strings_have_an_index_from_zero_and_finite(column: np.ndarray, other: np.ndarray) -> None:
    baseline = _baseline(column)
    assert sum(baseline.features["f"][0].counts) == len(column)
    assert 0 <= _psi(baseline, other) < np.inf
    assert Baseline.model_validate_json(baseline.model_dump_json()) == baseline


def test_the_most_frequent_values_are_told_apart_and_the_others_counted_together() -> None:
    column = np.array([f"v{n}" for n in range(150) for _ in range(300 - n)], object)
    baseline = _baseline(column)
    (dimension,) = baseline.features["f"]
    assert dimension.values == tuple(f"v{n}" for n in range(100))
    assert dimension.counts[0] == 300 and dimension.counts[-1] == sum(300 - n for n in range(100, 150))
    assert _psi(baseline, np.where(column == "v149", "never seen", column)) < 0.01
    assert _psi(baseline, np.where(column < "v5", "never seen", column)) > 0.2


def test_texts_and_very_wide_groups_are_not_watched() -> None:
    spec = project("weather")
    texts = {group: np.array([["a"], ["b"]], object) for group in ("categorical", "text")}
    assert set(watched(spec.features, texts)) == {"categorical"}
    assert set(watched(project("tiny").features, {"image_stats": np.zeros((2, 5))})) == {"image_stats"}
    assert not watched(project("tiny").features, {"image_stats": np.zeros((2, 513))})
