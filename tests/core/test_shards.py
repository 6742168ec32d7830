"""Shards come back as they were written, mapped where they can be."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import UpdraftError
from tasks.core.shards import SHARD_BYTES, pack, read_split, read_table, rows_per_shard, write_split

START = datetime(2026, 1, 1, tzinfo=UTC)


def _table(rows: int, shape: tuple[int, int, int] = (4, 3, 1), seed: int = 0) -> tuple[pa.Table, dict]:
    rng = np.random.default_rng(seed)
    parts = {
        "images": rng.integers(0, 256, (rows, *shape), np.uint8),
        "features": {"image_stats": rng.random((rows, 5), np.float32), "hog": rng.random((rows, 7), np.float32)},
        "labels": rng.integers(0, 10, rows).astype(np.int32),
        "entities": [f"é-{i}" for i in range(rows)],
        "uris": [f"p/ingest/k/files/{i}.png" for i in range(rows)],
        "event_times": [START + timedelta(seconds=i) for i in range(rows)],
        "folds": rng.integers(-1, 3, rows).astype(np.int32),
    }
    return pack(**parts), parts


@given(rows=st.integers(0, 40), per_shard=st.integers(1, 50), shape=st.sampled_from([(8, 8, 1), (2, 5, 3), (1, 1, 1)]))
def test_rows_come_back_in_order_whatever_the_shard_size(
    tmp_path_factory: pytest.TempPathFactory, rows: int, per_shard: int, shape: tuple[int, int, int]
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    table, parts = _table(rows, shape)
    shards = write_split(folder, "train", table, per_shard)
    split = read_split(folder, "train")
    assert len(shards) == max(1, -(-rows // per_shard))
    assert len(split) == rows
    assert split.images.shape == (rows, *shape) and np.array_equal(split.images, parts["images"])
    assert np.array_equal(split.labels, parts["labels"]) and split.labels.dtype == np.int32
    assert list(split.features) == ["image_stats", "hog"]
    assert all(np.array_equal(split.features[name], parts["features"][name]) for name in split.features)
    assert np.array_equal(split.folds, parts["folds"]) and split.folds.dtype == np.int32 and split.rows is None
    assert split.entities == parts["entities"] and split.uris == parts["uris"]
    assert read_table(folder, "train")["event_time"].to_pylist() == parts["event_times"]


def test_labels_that_are_numbers_come_back_in_single_precision(tmp_path: Path) -> None:
    _, parts = _table(4)
    write_split(tmp_path, "train", pack(**{**parts, "labels": np.array([0.1, -2, 1e30, 3])}))
    labels = read_split(tmp_path, "train").labels
    assert labels.dtype == np.float32 and labels.tolist() == np.array([0.1, -2, 1e30, 3], np.float32).tolist()


def test_one_shard_is_read_without_a_copy(tmp_path: Path) -> None:
    table, _ = _table(3000, (32, 32, 3))
    write_split(tmp_path, "train", table)
    before = pa.total_allocated_bytes()
    split = read_split(tmp_path, "train")
    assert pa.total_allocated_bytes() - before < split.images.nbytes / 10
    assert not split.images.flags.owndata and not split.features["hog"].flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 0


def test_splits_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    for name, rows in (("train", 5), ("train2", 3)):
        write_split(tmp_path, name, _table(rows)[0], 2)
    assert len(read_split(tmp_path, "train")) == 5


def test_equal_tables_give_equal_bytes_even_when_cut_from_larger_ones(tmp_path: Path) -> None:
    table, _ = _table(12)
    pieces = pa.concat_tables([table.slice(0, 5), table.slice(5)])
    one, two = (write_split(tmp_path, name, t, 8) for name, t in (("a", table), ("b", pieces)))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(UpdraftError, match="no split 'test'"):
        read_split(tmp_path, "test")


def test_a_table_has_rows_and_strings_and_no_images(tmp_path: Path) -> None:
    words = np.array([["a", "ü"], ["", "a b"], ["x", "y"]], object)
    numbers = np.array([[1.5], [np.nan], [np.inf]], np.float32)
    given = {"shop": words, "numeric": numbers}
    rows, times = ['{"n": 1}', "{}", '{"n": null}'], np.array(["2026-01-01T00:00:00.000007"] * 3, "datetime64[us]")
    table = pack(None, given, np.array([0, 1, 0]), ["e1", "e2", "e3"], ["f.csv"] * 3, times, rows=rows)
    write_split(tmp_path, "train", table, 2)
    split = read_split(tmp_path, "train")
    assert split.images is None and split.rows == rows and split.folds.tolist() == [0, 0, 0] and len(split) == 3
    assert split.features["shop"].dtype == object and split.features["shop"].tolist() == words.tolist()
    assert np.array_equal(split.features["numeric"], numbers, equal_nan=True)
    assert read_table(tmp_path, "train")["event_time"].to_pylist() == [START + timedelta(microseconds=7)] * 3


def test_a_shard_holds_at_least_one_row() -> None:
    assert rows_per_shard(SHARD_BYTES * 2) == 1 and rows_per_shard(SHARD_BYTES // 10) == 10 and rows_per_shard(0) > 1
