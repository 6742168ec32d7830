"""What the baseline of a table, and of large images, sees."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.core.layout import Layout
from tasks.core.shards import Split
from tasks.evaluation import baseline
from tasks.evaluation.baseline import logistic_regression


def test_the_baseline_of_a_table_sees_its_features_alone_and_no_more_of_them_than_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, test = _table(400, seed=1), _table(100, seed=2)
    found = logistic_regression(train, _separable(train), test, _separable(test), Layout.plain(3), classes=2)
    assert (found.argmax(axis=1) == test.labels).mean() > 0.95
    monkeypatch.setattr(baseline, "VALUES", 90)
    fewer = logistic_regression(train, _separable(train), test, _separable(test), Layout.plain(3), classes=2)
    assert not np.array_equal(found, fewer)
    assert (fewer.argmax(axis=1) == test.labels).mean() > 0.9


def test_the_baseline_sees_every_second_pixel_of_a_larger_image() -> None:
    train, features = _table(60, seed=1), np.zeros((60, 1), np.float32)
    images = np.zeros((60, 40, 33, 1), np.uint8)
    images[:, ::2, ::2, 0] = 255 * train.labels[:, None, None]
    images[:, 1::2] = np.random.default_rng(0).integers(0, 256, (60, 20, 33, 1))
    seen = replace(train, images=images)
    found = logistic_regression(seen, features, seen, features, Layout.plain(1), classes=2)
    assert (found.argmax(axis=1) == train.labels).all()


def _table(rows: int, seed: int) -> Split:
    labels = np.random.default_rng(seed).integers(0, 2, rows).astype(np.int32)
    names = [str(row) for row in range(rows)]
    return Split(None, {}, labels, names, names, np.zeros(rows, np.int32), ["{}"] * rows)


def _separable(split: Split) -> np.ndarray:
    noise = np.random.default_rng(7).normal(size=(len(split), 3))
    return (noise + 5 * split.labels[:, None]).astype(np.float32)
