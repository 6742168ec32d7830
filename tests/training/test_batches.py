"""Batches come from the mapped shards as the order says, whatever the shards' borders."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tasks.core.errors import BadInput
from tasks.training import batches
from tasks.training.batches import Rows, as_stored, in_order, read_rows
from tests.training.skewed import SHAPE, rows, write

PARTS = ("features", "images")


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Rows, Rows]:
    """250 rows as they were made, and as read from their three shards."""
    made = rows(200, 50)
    write(tmp_path, train=made)
    return made, read_rows(tmp_path, tmp_path, "train")


def _order(epoch: int, steps: int = 12, batch: int = 20) -> np.ndarray:
    return np.random.default_rng(epoch).permutation(250)[: steps * batch].reshape(steps, batch)


@pytest.mark.parametrize("chunk", [1, 5000, 2**22], ids=["a step at a time", "some steps", "all steps"])
def test_batches_follow_the_order_epoch_after_epoch(
    stored: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(batches, "CHUNK_BYTES", chunk)
    made, read = stored
    assert len(read.images) == 3
    found = list(in_order(read, _order, range(2, 4), 20))
    expected = [*_order(2), *_order(3)]
    assert len(found) == len(expected)
    for (inputs, labels), numbers in zip(found, expected, strict=True):
        assert np.array_equal(inputs["image"], made.images[0][numbers])
        assert np.array_equal(inputs["features"], made.features[0][numbers])
        assert np.array_equal(labels, made.labels[numbers])


def test_the_shapes_are_known_before_the_first_batch(stored: tuple[Rows, Rows]) -> None:
    inputs, labels = in_order(stored[1], _order, range(1), 20).element_spec
    assert inputs["image"] == tf.TensorSpec((20, *SHAPE), tf.uint8)
    assert inputs["features"].shape == (20, 3) and labels == tf.TensorSpec((20,), tf.int32)


def test_every_row_of_a_range_is_measured_once(stored: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "EVALUATION_BATCH", 64)
    made, read = stored
    data = as_stored(read, range(30, 250))
    labels = [labels.numpy() for _, labels in data]
    assert [len(each) for each in labels] == [64, 64, 64, 28]
    assert data.cardinality() == 4
    assert np.array_equal(np.concatenate(labels), made.labels[30:])


def test_a_table_has_no_images(tmp_path: Path) -> None:
    made = rows(40)
    write(tmp_path, train=Rows(None, made.features, made.labels))
    (inputs, _), *_ = in_order(read_rows(tmp_path, tmp_path, "train"), lambda _: np.arange(40)[None], range(1), 40)
    assert set(inputs) == {"features"}
    assert np.array_equal(inputs["features"], made.features[0])


def test_weights_are_given_with_the_labels() -> None:
    made = rows(8)
    weighted = Rows(made.images, made.features, made.labels, np.arange(8, dtype=np.float32))
    ((_, _, weights),) = in_order(weighted, lambda _: np.array([[5, 3]]), range(1), 2)
    assert weights.numpy().tolist() == [5, 3]


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    write(tmp_path, validation=rows(0))
    with pytest.raises(BadInput, match="validation split has no rows"):
        read_rows(tmp_path, tmp_path, "validation")


def test_a_fold_is_left_out_of_training_and_measured_instead(tmp_path: Path) -> None:
    train, validation = rows(120, 30), rows(20, 20, seed=1)
    write(tmp_path, train=train, validation=validation)
    features, images = (np.concatenate([getattr(part, name)[0] for part in (train, validation)]) for name in PARTS)
    folds = np.concatenate([np.arange(150) % 3, np.arange(40) % 3])
    for split, chosen in {"train": folds != 1, "validation": folds == 1}.items():
        read = read_rows(tmp_path, tmp_path, split, fold=1)
        assert np.array_equal(read.labels, np.concatenate([train.labels, validation.labels])[chosen])
        backwards = np.arange(len(read))[::-1]
        taken = read.take(backwards.reshape(1, -1))
        assert np.array_equal(taken["features"][0], features[chosen][::-1])
        assert np.array_equal(taken["image"][0], images[chosen][::-1])


def test_an_empty_fold_is_named(tmp_path: Path) -> None:
    write(tmp_path, train=rows(20), validation=rows(9))
    with pytest.raises(BadInput, match="validation part of fold 7"):
        read_rows(tmp_path, tmp_path, "validation", fold=7)


def test_a_regression_has_numbers_for_labels(tmp_path: Path) -> None:
    made = rows(20)
    numbers = np.linspace(-1, 1, 20).astype(np.float32)
    write(tmp_path, train=Rows(made.images, made.features, numbers))
    ((_, labels),) = in_order(read_rows(tmp_path, tmp_path, "train"), lambda _: np.arange(20)[None], range(1), 20)
    assert labels.dtype == tf.float32 and np.array_equal(labels, numbers)
