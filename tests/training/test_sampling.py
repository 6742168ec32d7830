"""What the training split is drawn from, few rows of one class or not; and that nothing else is touched."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import BadInput
from tasks.training.batches import Rows
from tasks.training.sampling import Pool, class_weights, draw
from tests.training.skewed import SHAPE, project, rows

SEED = 3


def _pool(balance: str, stored: Rows, **overrides: object) -> Pool:
    return draw(stored, project({"sampling.balance": balance, **overrides}))


def _sizes(pool: Pool) -> list[int]:
    return np.bincount(pool.labels, minlength=3).tolist()


def test_nothing_to_balance_leaves_every_row_once_and_in_order() -> None:
    for pool in (_pool("none", rows(30, 5, 9)), _pool("smote", rows(30))):
        assert np.array_equal(pool.left, np.arange(len(pool.stored)))
        assert not pool.step.any() and pool.weights is None


def test_class_weights_count_every_class_the_same() -> None:
    stored = rows(60, 5, 9)
    pool = _pool("class_weights", stored)
    assert _sizes(pool) == [60, 5, 9]
    totals = np.bincount(pool.labels, pool.weights)
    np.testing.assert_allclose(totals, totals.mean(), rtol=1e-5)
    assert pool.weights.mean() == pytest.approx(1)


@given(st.lists(st.integers(0, 4), min_size=1))
def test_class_weights_of_any_labels(labels: list[int]) -> None:
    weights = class_weights(np.array(labels))
    assert weights.dtype == np.float32 and weights.sum() == pytest.approx(len(labels), rel=1e-4)


def test_oversampling_repeats_rows_and_undersampling_leaves_some_out() -> None:
    stored = rows(40, 5, 10)
    over, under = _pool("oversample", stored), _pool("undersample", stored)
    assert _sizes(over) == [40, 40, 40] and _sizes(under) == [5, 5, 5]
    assert set(over.left) == set(range(55)), "rows were lost"
    assert len(set(under.left)) == 15, "rows were repeated"
    for pool in (over, under):
        assert np.array_equal(pool.labels, stored.labels[pool.left])
        assert not pool.step.any()


@pytest.mark.parametrize("balance", ["oversample", "undersample", "smote"])
def test_the_draw_follows_from_the_seed(balance: str) -> None:
    stored = rows(40, 6)
    first, again, other = (_pool(balance, stored, **{"training.seed": seed}) for seed in (1, 1, 2))
    for name in ("left", "right", "step", "labels"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not (np.array_equal(first.left, other.left) and np.array_equal(first.step, other.step))


def test_made_up_rows_stand_between_two_neighbours_of_their_class_pixels_and_features_alike() -> None:
    stored = rows(60, 8)
    pool = _pool("smote", stored, **{"sampling.neighbours": 3})
    assert _sizes(pool)[:2] == [60, 60]
    made = np.flatnonzero(pool.step)
    assert len(made) == 52
    assert (stored.labels[pool.left[made]] == 1).all() and (stored.labels[pool.right[made]] == 1).all()
    taken = pool.take(made)
    step = pool.step[made][:, None]
    left, right = (stored.take(numbers[made]) for numbers in (pool.left, pool.right))
    features = left["features"] + step * (right["features"] - left["features"])
    np.testing.assert_allclose(taken["features"], features, atol=1e-6)
    start, end = (side["image"].astype(np.float64) for side in (left, right))
    pixels = start + step[:, :, None, None] * (end - start)
    assert taken["image"].dtype == np.uint8
    np.testing.assert_allclose(taken["image"], pixels, atol=0.51)
    _assert_nearest(stored, pool.left[made], pool.right[made], 3)


def _assert_nearest(stored: Rows, left: np.ndarray, right: np.ndarray, count: int) -> None:
    members = np.flatnonzero(stored.labels == 1)
    features = stored.features_of(members)
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    for one, other in zip(left, right, strict=True):
        order = members[np.argsort(distances[members == one][0])]
        pair = set(order[: count + 1])
        back = set(members[np.argsort(distances[members == other][0])][: count + 1])
        assert other in pair or one in back


def test_stored_rows_come_out_of_a_pool_as_they_are() -> None:
    stored = rows(20, 4)
    pool = _pool("smote", stored)
    numbers = np.array([[3, 0], [23, 7]])
    taken = pool.take(numbers)
    assert taken["image"].shape == (2, 2, *SHAPE)
    assert np.array_equal(taken["image"], stored.take(numbers)["image"])
    assert np.array_equal(taken["features"], stored.features[0][numbers])


def test_a_class_with_few_rows_has_all_of_them_as_neighbours() -> None:
    pool = _pool("smote", rows(20, 2))
    made = pool.step > 0
    assert _sizes(pool)[:2] == [20, 20]
    assert {frozenset(pair) for pair in zip(pool.left[made], pool.right[made], strict=True)} == {frozenset((20, 21))}


def test_a_class_with_a_single_row_is_named() -> None:
    with pytest.raises(BadInput, match="smote: c has a single row") as raised:
        _pool("smote", rows(20, 2, 1))
    assert "oversample" in raised.value.fix


def test_balancing_changes_no_file(tmp_path: Path) -> None:
    from tasks.training.batches import read_rows
    from tests.training.skewed import write

    write(tmp_path, train=rows(30, 4), validation=rows(10, 4))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for balance in ("oversample", "undersample", "smote"):
        pool = _pool(balance, read_rows(tmp_path, tmp_path, "train"))
        pool.take(np.arange(len(pool)))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(read_rows(tmp_path, tmp_path, "validation")) == 14
