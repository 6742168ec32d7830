"""The offline store's point-in-time join, against a search by hand over every pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Array, Float32, Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

START = datetime(2026, 1, 1, tzinfo=UTC)
STORE = "tasks.features.offline_store.KnownTimeOfflineStore"


@dataclass(frozen=True)
class Value:
    """One row of a view; times in minutes."""

    entity: str
    event: int
    known: int
    created: int

    @property
    def number(self) -> int:
        return hash((self.entity, self.event, self.known, self.created)) % 2**40


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number, microseconds=number)


def open_join(folder: Path, views: Mapping[str, Sequence[Value]], ttl: int = 0, **options: object) -> FeatureStore:
    """A Feast store over the views, each with the fields ``<view>_number`` and ``<view>_list``."""
    entity = Entity(name="entity", join_keys=["entity"], value_type=ValueType.STRING)
    objects: list = [entity]
    for name, rows in views.items():
        stamps = {
            column: pa.array([START + minutes(getattr(row, column)) for row in rows], pa.timestamp("us", "UTC"))
            for column in ("event", "known", "created")
        }
        numbers = [row.number for row in rows]
        columns = {
            "entity": pa.array([row.entity for row in rows], pa.string()),
            **stamps,
            f"{name}_number": pa.array(numbers, pa.int64()),
            f"{name}_list": pa.array([[float(n % 1000), 1.0] for n in numbers], pa.list_(pa.float32())),
            "unused": pa.array(numbers, pa.int64()),
        }
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        source = FileSource(
            name=f"{name}_source",
            path=str(folder / f"{name}.parquet"),
            timestamp_field="event",
            created_timestamp_column="created",
            tags={"known_at": "known"},
        )
        schema = [
            Field(name="entity", dtype=String),
            Field(name=f"{name}_number", dtype=Int64),
            Field(name=f"{name}_list", dtype=Array(Float32)),
        ]
        objects.append(FeatureView(name=name, entities=[entity], schema=schema, source=source, ttl=minutes(ttl)))
    config = RepoConfig(
        project="join",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": STORE, **options},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply(objects)
    return store


def search(rows: Sequence[Value], entity: str, at: int, ttl: int, cutoff: bool) -> int | None:
    """The newest row of the entity at the time ``at``, tried one by one."""
    seen = [r for r in rows if r.entity == entity and r.event <= at and (r.known <= at or not cutoff)]
    newest = max(seen, key=lambda row: (row.event, row.known, row.created), default=None)
    return None if newest is None or (ttl and newest.event + ttl < at) else newest.number


_MINUTE = st.integers(0, 8)
_VALUES = st.lists(
    st.builds(Value, st.sampled_from(["a", "b", "ü'\""]), _MINUTE, _MINUTE, _MINUTE),
    max_size=24,
    unique_by=lambda row: (row.entity, row.event, row.known, row.created),
)
_LABELS = st.lists(st.tuples(st.sampled_from(["a", "b", "ü'\"", "nobody"]), _MINUTE), min_size=1, max_size=25)


@settings(max_examples=25)
@given(
    one=_VALUES,
    two=_VALUES,
    labels=_LABELS,
    ttl=st.sampled_from([0, 0, 2]),
    cutoff=st.booleans(),
    in_sql=st.booleans(),
)
def test_every_label_gets_what_a_search_by_hand_finds(
    tmp_path_factory: pytest.TempPathFactory,
    one: list[Value],
    two: list[Value],
    labels: list[tuple[str, int]],
    ttl: int,
    cutoff: bool,
    in_sql: bool,
) -> None:
    """Late and corrected values, equal times, several views, entities without rows, labels given twice."""
    folder, views = tmp_path_factory.mktemp("join"), {"one": one, "two": two}
    store = open_join(folder, views, ttl, known_time_cutoff=cutoff)
    frame = pd.DataFrame(
        {
            "entity": [entity for entity, _ in labels],
            "event_timestamp": pd.to_datetime([START + minutes(at) for _, at in labels]),
            "position": range(len(labels)),
        }
    )
    frame.to_parquet(folder / "labels.parquet")
    asked = f"SELECT * FROM read_parquet('{folder}/labels.parquet')" if in_sql else frame
    references = ["one:one_number", "two:two_list", "two:two_number"]
    joined = store.get_historical_features(entity_df=asked, features=references).to_arrow().sort_by("position")
    assert joined.column_names == ["entity", "event_timestamp", "position", "one_number", "two_list", "two_number"]
    assert joined["position"].to_pylist() == list(range(len(labels)))
    for name, rows in views.items():
        expected = [search(rows, entity, at, ttl, cutoff) for entity, at in labels]
        assert joined[f"{name}_number"].to_pylist() == expected
    lists = [None if number is None else [float(number % 1000), 1.0] for number in joined["two_number"].to_pylist()]
    assert joined["two_list"].to_pylist() == lists
    assert joined["event_timestamp"].to_pylist() == [START + minutes(at) for _, at in labels]


def ask(store: FeatureStore, entity: str, at: int, **options: object) -> dict[str, list]:
    frame = pd.DataFrame({"entity": [entity], "event_timestamp": [pd.Timestamp(START + minutes(at))]})
    return store.get_historical_features(entity_df=frame, features=["one:one_number"], **options).to_arrow().to_pydict()


def test_the_cutoff_is_on_unless_it_is_turned_off(tmp_path: Path) -> None:
    early, late = Value("a", 1, 1, 1), Value("a", 2, 9, 9)
    for number, options in enumerate(({}, {"known_time_cutoff": False})):
        (folder := tmp_path / str(number)).mkdir()
        found = ask(open_join(folder, {"one": [early, late]}, **options), "a", 5)["one_number"]
        assert found == [(early, late)[number].number]


def test_feasts_own_filter_holds_back_what_was_created_later(tmp_path: Path) -> None:
    early, late = Value("a", 1, 1, 1), Value("a", 2, 2, 9)
    store = open_join(tmp_path, {"one": [early, late]})
    assert ask(store, "a", 5)["one_number"] == [late.number]
    assert ask(store, "a", 5, filter_by_created_timestamp=True)["one_number"] == [early.number]
    assert ask(store, "a", 9, filter_by_created_timestamp=True)["one_number"] == [late.number]


def test_full_names_carry_the_view(tmp_path: Path) -> None:
    store = open_join(tmp_path, {"one": [Value("a", 1, 1, 1)]})
    assert list(ask(store, "a", 5, full_feature_names=True)) == ["entity", "event_timestamp", "one__one_number"]


def test_a_frame_comes_back_as_feast_gives_it(tmp_path: Path) -> None:
    store = open_join(tmp_path, {"one": [Value("a", 1, 1, 1)]})
    frame = pd.DataFrame({"entity": ["a"], "event_timestamp": [pd.Timestamp("2026-01-02")]})
    found = store.get_historical_features(entity_df=frame, features=["one:one_list"]).to_df()
    assert found.loc[0, "one_list"].tolist() == [float(Value("a", 1, 1, 1).number % 1000), 1.0]
