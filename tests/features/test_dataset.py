"""The dataset stage: Feast's point-in-time join, the split, and the shards."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.core import shards
from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import UpdraftError
from tasks.core.shards import SPLITS, read_split, read_table
from tasks.features.splits import home
from tests.features.conftest import CLASSES, Platform, Row, some_rows, uri


def rows_of(platform: Platform, manifest: Manifest) -> pd.DataFrame:
    """Entity, event time and split of every row of a dataset."""
    folder = platform.path(manifest)
    parts = [
        read_table(folder, name).select(["entity", "event_time"]).to_pandas().assign(split=name) for name in SPLITS
    ]
    return pd.concat(parts, ignore_index=True)


def test_every_row_keeps_its_own_label_pixels_and_features(platform: Platform) -> None:
    days = ("2026-01-01", "2026-01-02")
    rows = {row.entity: row for number, day in enumerate(days) for row in some_rows(40, day, start=40 * number)}
    parts = [platform.materialize([r for r in rows.values() if r.day == day], day) for day in days]
    manifest = platform.dataset(*parts)
    assert manifest.rows.published == 80 and sum(manifest.metrics[name] for name in SPLITS) == 80
    for name in SPLITS:
        split = read_split(platform.path(manifest), name)
        assert len(split) == manifest.metrics[name] > 0
        for number, entity in enumerate(split.entities):
            row = rows.pop(entity)
            assert home(platform.spec.split, entity) == name
            assert split.uris[number] == uri(row)
            assert CLASSES[split.labels[number]] == row.label
            assert np.array_equal(split.images[number, :, :, 0], row.pixels)
            for kind, values in split.features.items():
                assert np.array_equal(values[number], row.values(kind, values.shape[1]))
    assert not rows


def test_the_dataset_is_the_same_in_every_home(new_platform: Callable[[], Platform]) -> None:
    made = []
    for _ in range(2):
        platform = new_platform()
        made.append(platform.dataset(platform.materialize(some_rows(30))))
    assert made[0].digest == made[1].digest
    assert made[0].outputs == made[1].outputs and made[0].metrics == made[1].metrics


def test_new_data_moves_no_entity_to_another_split(platform: Platform) -> None:
    first = platform.materialize(some_rows(40))
    second = platform.materialize(some_rows(40, "2026-01-02", start=40), "2026-01-02")
    before, after = (rows_of(platform, platform.dataset(*parts)) for parts in ([first], [first, second]))
    assert len(after) == 80
    assert before.merge(after).equals(before)


def test_a_correction_supersedes_the_row_of_the_same_event(platform: Platform) -> None:
    early, late = some_rows(30), [Row("e7", minute=7, label="a", seed=999)]
    parts = [platform.materialize(early), platform.materialize(late, "2026-01-02")]
    manifest = platform.dataset(*parts)
    assert manifest.rows.received == 31 and manifest.rows.published == 30
    assert manifest.reasons == {"superseded": 1}
    name = home(platform.spec.split, "e7")
    split = read_split(platform.path(manifest), name)
    at = split.entities.index("e7")
    assert split.uris[at] == uri(late[0])
    assert np.array_equal(split.features["image_stats"][at], late[0].values("image_stats", 5))


def test_an_entity_with_two_events_has_two_rows_in_one_split(platform: Platform) -> None:
    again = Row("e7", "2026-01-02", minute=3, seed=999)
    parts = [platform.materialize(some_rows(30)), platform.materialize([again], "2026-01-02")]
    rows = rows_of(platform, platform.dataset(*parts))
    assert len(rows) == 31
    assert rows[rows["entity"] == "e7"]["split"].nunique() == 1


def test_rows_without_whole_features_are_counted(platform: Platform) -> None:
    broken = {
        "e1": {"hog": None},
        "e2": {"image_stats": [1.0, 2.0]},
        "e3": {"hog": [float("nan")] * 36},
        "e4": {"image_stats": [float("inf")] * 5},
    }
    rows = [Row(r.entity, minute=r.minute, seed=r.seed, features=broken.get(r.entity, {})) for r in some_rows(30)]
    manifest = platform.dataset(platform.materialize(rows))
    assert manifest.reasons == {"missing_features": 2, "non_finite_features": 2}
    assert manifest.rows.received == 30 and manifest.rows.quarantined == 4
    assert not set(broken) & set(rows_of(platform, manifest)["entity"])


def test_a_split_larger_than_a_shard_has_several(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 64 * 7)
    manifest = platform.dataset(platform.materialize(some_rows(40)))
    wanted = {f"{name}-{n:05d}.arrow" for name in SPLITS for n in range(-(-manifest.metrics[name] // 7))}
    assert set(manifest.outputs) == wanted and len(wanted) > 3
    assert len(rows_of(platform, manifest)) == 40


def test_an_unknown_label_is_named(platform: Platform) -> None:
    part = platform.materialize([*some_rows(20), Row("odd", label="zebra")])
    with pytest.raises(UpdraftError, match="zebra"):
        platform.dataset(part)


def test_an_empty_split_is_named(platform: Platform) -> None:
    part = platform.materialize([r for r in some_rows(40) if home(platform.spec.split, r.entity) != "validation"])
    with pytest.raises(UpdraftError, match=r"validation split(.|\n)*split.validation"):
        platform.dataset(part)


def test_a_lost_image_is_named(platform: Platform) -> None:
    rows = some_rows(20)
    part = platform.materialize(rows)
    platform.store.delete(uri(rows[3]))
    with pytest.raises(UpdraftError, match=f"{uri(rows[3])}.*not in the store"):
        platform.dataset(part)


def test_partitions_of_another_spec_are_refused(platform: Platform) -> None:
    narrower = replace(platform.spec, {"features": [{"kind": "image_stats"}]})
    parts = [
        platform.materialize(some_rows(20)),
        platform.materialize(some_rows(5, "2026-01-02", 20), "2026-01-02", narrower),
    ]
    with pytest.raises(UpdraftError, match=r"1 partitions \(2026-01-02\)(.|\n)*Backfill toy_features"):
        platform.dataset(*parts)


def test_a_killed_attempt_leaves_nothing_in_the_way(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    part = platform.materialize(some_rows(20))
    with monkeypatch.context() as patch:
        patch.setattr("tasks.features.dataset._write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            platform.dataset(part)
    assert platform.dataset(part).rows.published == 20
    assert not any((Path(platform.store.uri).parent / "work").glob("toy-dataset*"))


def test_what_was_not_yet_known_does_not_join(platform: Platform) -> None:
    """A value known late is no feature of its own label; the label gets the image that was there, and its features."""
    first, late, alone = Row("e1", minute=1, seed=101), Row("e1", minute=9, seed=102, late=60), Row("x", seed=5, late=1)
    manifest = platform.dataset(platform.materialize([*some_rows(40, start=10), first, late, alone]))
    assert manifest.reasons == {"duplicate": 1, "not_yet_known": 1}
    split = read_split(platform.path(manifest), home(platform.spec.split, "e1"))
    at = split.entities.index("e1")
    assert split.entities.count("e1") == 1 and split.uris[at] == uri(first)
    assert np.array_equal(split.images[at, :, :, 0], first.pixels)
    assert split.features["image_stats"][at].tolist() == first.values("image_stats", 5)


def test_exact_duplicates_of_other_partitions_are_counted(platform: Platform) -> None:
    again = Row("other", "2026-01-02", label="a", seed=4)
    contradicting = Row("another", "2026-01-02", label="b", seed=6)
    parts = [platform.materialize(some_rows(30)), platform.materialize([again, contradicting], "2026-01-02")]
    manifest = platform.dataset(*parts)
    assert manifest.reasons == {"conflicting_labels": 2, "duplicate": 1}
    assert set(rows_of(platform, manifest)["entity"]) == {f"e{n}" for n in range(30) if n != 6}


def test_near_duplicates_stand_in_one_split(platform: Platform) -> None:
    spec = replace(platform.spec, {"validation.near_duplicate_bits": 1})
    far = np.random.default_rng(0).integers(0, 2**62, 20)
    rows = [Row(f"e{n}", minute=n, seed=n, image_hash=int(far[n // 4]) ^ n % 2) for n in range(80)]
    manifest = platform.run(
        "tasks.features.dataset:dataset", {"materialize": [platform.materialize(rows, spec=spec)]}, spec=spec
    )
    found = rows_of(platform, manifest)
    groups = found.assign(group=found["entity"].str[1:].astype(int) // 4).groupby("group")
    assert len(found) == 80 and (groups["split"].nunique() == 1).all() and (groups.size() == 4).all()
    assert found["split"].nunique() == 3


def test_folds_cover_all_but_the_test_split(platform: Platform) -> None:
    spec = replace(platform.spec, {"split.folds": 3})
    part = platform.materialize(some_rows(60))
    manifest = platform.run("tasks.features.dataset:dataset", {"materialize": [part]}, spec=spec)
    folds = {name: read_split(platform.path(manifest), name).folds for name in SPLITS}
    assert set(folds["train"]) == {0, 1, 2} and set(folds["test"]) == {-1} and folds["validation"].min() >= 0


def test_by_time_the_oldest_events_train_and_the_newest_test(platform: Platform) -> None:
    spec = replace(platform.spec, {"split.by": "time"})
    days = ("2026-01-01", "2026-01-02")
    parts = [platform.materialize(some_rows(20, day, start=20 * n), day) for n, day in enumerate(days)]
    manifest = platform.run("tasks.features.dataset:dataset", {"materialize": parts}, spec=spec)
    rows = rows_of(platform, manifest).groupby("split")["event_time"].agg(["min", "max", "size"])
    assert rows["size"].to_dict() == {"train": 24, "validation": 8, "test": 8}
    assert rows.loc["train", "max"] < rows.loc["validation", "min"]
    assert rows.loc["validation", "max"] < rows.loc["test", "min"]


def test_partitions_without_rows_are_no_dataset(platform: Platform) -> None:
    with pytest.raises(UpdraftError, match="no entity fell into the train split"):
        platform.dataset(platform.materialize([]))
