"""The dataset stage: Feast's point-in-time join, the split, and the shards."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core import shards
from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import UpdraftError
from tasks.core.shards import SPLITS, read_split, read_table
from tasks.core.spec import Project, Split
from tasks.features.dataset import assign, point_in_time
from tests.features.conftest import CLASSES, Platform, Row, some_rows, table, uri

START = datetime(2026, 1, 1, tzinfo=UTC)


def _rows_of(platform: Platform, manifest: Manifest) -> pd.DataFrame:
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
            assert assign(platform.spec.split, entity) == name
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
    before, after = (_rows_of(platform, platform.dataset(*parts)) for parts in ([first], [first, second]))
    assert len(after) == 80
    assert before.merge(after).equals(before)


@given(
    seed=st.integers(0, 1000),
    shares=st.tuples(*[st.floats(0.05, 1)] * 3),
    entities=st.lists(st.text(max_size=12), min_size=1, max_size=30, unique=True),
)
def test_the_split_hangs_on_entity_and_seed_alone(seed: int, shares: tuple[float, ...], entities: list[str]) -> None:
    train, validation = shares[0] / sum(shares), shares[1] / sum(shares)
    split = Split(train=train, validation=validation, test=1 - train - validation, seed=seed)
    larger = Split(train=train + validation / 2, validation=validation / 2, test=split.test, seed=seed)
    for entity in entities:
        assert assign(split, entity) in SPLITS
        # A larger training share takes entities from validation only.
        moved = (assign(split, entity), assign(larger, entity))
        assert moved[0] == moved[1] or moved == ("validation", "train")


@pytest.mark.parametrize("seed", [0, 7])
def test_the_shares_are_what_the_spec_asks_for(seed: int) -> None:
    split = Split(train=0.7, validation=0.1, test=0.2, seed=seed)
    names = [assign(split, str(number)) for number in range(20_000)]
    for name in SPLITS:
        assert names.count(name) / 20_000 == pytest.approx(getattr(split, name), abs=0.01)


_EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20)), max_size=12, unique=True)


@settings(max_examples=15)
@given(known=_EVENTS, asked=_EVENTS.filter(bool))
def test_no_later_feature_joins(
    spec: Project,
    tmp_path_factory: pytest.TempPathFactory,
    known: list[tuple[int, int]],
    asked: list[tuple[int, int]],
) -> None:
    """Against a search by hand: the newest value at or before the label's time, else none."""
    folder = tmp_path_factory.mktemp("join")
    rows = [Row(f"e{entity}", minute=minute, seed=100 * entity + minute) for entity, minute in known]
    pq.write_table(table(spec, rows, "2026-01-01"), folder / "source.parquet")
    labels = pd.DataFrame(
        {
            "entity": [f"e{entity}" for entity, _ in asked],
            "event_time": pd.to_datetime([START + timedelta(minutes=minute, microseconds=7) for _, minute in asked]),
            "position": range(len(asked)),
        }
    )
    joined = point_in_time(spec, str(folder / "source.parquet"), labels, folder / "feast").set_index("position")
    assert len(joined) == len(asked)
    for position, (entity, minute) in enumerate(asked):
        newest = max((m for e, m in known if e == entity and m <= minute), default=None)
        found = joined.loc[position, "image_stats"]
        if newest is None:
            assert found is None
        else:
            assert np.array_equal(found, Row("", seed=100 * entity + newest).values("image_stats", 5))


def test_a_correction_supersedes_the_row_of_the_same_event(platform: Platform) -> None:
    early, late = some_rows(30), [Row("e7", minute=7, label="a", seed=999)]
    parts = [platform.materialize(early), platform.materialize(late, "2026-01-02")]
    manifest = platform.dataset(*parts)
    assert manifest.rows.received == 31 and manifest.rows.published == 30
    assert manifest.reasons == {"superseded": 1}
    name = assign(platform.spec.split, "e7")
    split = read_split(platform.path(manifest), name)
    at = split.entities.index("e7")
    assert split.uris[at] == uri(late[0])
    assert np.array_equal(split.features["image_stats"][at], late[0].values("image_stats", 5))


def test_an_entity_with_two_events_has_two_rows_in_one_split(platform: Platform) -> None:
    again = Row("e7", "2026-01-02", minute=3, seed=999)
    parts = [platform.materialize(some_rows(30)), platform.materialize([again], "2026-01-02")]
    rows = _rows_of(platform, platform.dataset(*parts))
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
    assert not set(broken) & set(_rows_of(platform, manifest)["entity"])


def test_a_split_larger_than_a_shard_has_several(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 64 * 7)
    manifest = platform.dataset(platform.materialize(some_rows(40)))
    wanted = {f"{name}-{n:05d}.arrow" for name in SPLITS for n in range(-(-manifest.metrics[name] // 7))}
    assert set(manifest.outputs) == wanted and len(wanted) > 3
    assert len(_rows_of(platform, manifest)) == 40


def test_an_unknown_label_is_named(platform: Platform) -> None:
    part = platform.materialize([*some_rows(20), Row("odd", label="zebra")])
    with pytest.raises(UpdraftError, match="zebra"):
        platform.dataset(part)


def test_an_empty_split_is_named(platform: Platform) -> None:
    part = platform.materialize([r for r in some_rows(40) if assign(platform.spec.split, r.entity) != "validation"])
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
