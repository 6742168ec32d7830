"""The materialize stage, with real Feast, DuckDB and SQLite."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import permutations

import numpy as np
import pytest
from feast import FeatureStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore

from feature_repo.names import offline_folder
from tasks.core.config import replace
from tasks.core.errors import BadInput, Refused
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.features import newest
from tasks.features.lookup import look_up
from tests.features.conftest import Platform, Row, some_rows

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04")


def holds(spec: Project, *rows: Row) -> bool:
    """Whether exactly these rows are what their entities are looked up as."""
    found = look_up(spec, [row.entity for row in rows])
    return all(
        each is not None
        and each.event_time == row.event_time.replace(microsecond=0)
        and all(row.values(group, len(values)) == values.tolist() for group, values in each.values.items())
        for row, each in zip(rows, found, strict=True)
    )


def test_a_date_is_in_both_stores(platform: Platform) -> None:
    rows = some_rows(30)
    manifest = platform.materialize(rows)
    published = platform.path(manifest, "offline.parquet")
    offline = platform.store.fetch(f"{offline_folder(platform.spec)}/date=2026-01-01.parquet")
    assert offline.read_bytes() == published.read_bytes()
    assert manifest.rows.published == 30 and manifest.metrics == {"read_back": 5}
    assert holds(platform.spec, *rows)
    assert look_up(platform.spec, ["nobody"]) == [None]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_newest_value_is_online_in_whatever_order_dates_arrive(platform: Platform, order: tuple[int, ...]) -> None:
    versions = [Row("e1", day, seed=number) for number, day in enumerate(DAYS[:3])]
    rare = Row("rare", DAYS[1], seed=77)
    for number in order:
        others = [rare] if number == 1 else []
        platform.materialize([versions[number], *others, *some_rows(3, DAYS[number], start=10)], DAYS[number])
    assert holds(platform.spec, versions[2], rare)


def test_of_two_values_of_one_event_the_one_known_later_stands(platform: Platform) -> None:
    first, second = Row("e1", seed=1, late=3), Row("e1", seed=2, late=2)
    platform.materialize([second], DAYS[1])
    platform.materialize([first], DAYS[0])
    assert holds(platform.spec, first)


def test_a_corrected_date_replaces_its_values(platform: Platform) -> None:
    platform.materialize([Row("e1", seed=1)])
    platform.materialize([Row("e1", seed=2)])
    assert holds(platform.spec, Row("e1", seed=2))


def test_what_a_correction_takes_away_is_no_longer_online(platform: Platform) -> None:
    earlier = Row("e1", DAYS[0], seed=1)
    platform.materialize([earlier], DAYS[0])
    platform.materialize([Row("e1", DAYS[1], seed=2), Row("e2", DAYS[1], seed=3), Row("e3", DAYS[1], seed=4)], DAYS[1])
    platform.materialize([Row("e3", DAYS[1], seed=4)], DAYS[1])
    assert holds(platform.spec, earlier, Row("e3", DAYS[1], seed=4))
    assert look_up(platform.spec, ["e2"]) == [None]


def test_going_back_to_an_earlier_version_of_a_date_is_no_empty_hit(platform: Platform) -> None:
    first, second = [Row("e1", seed=1)], [Row("e1", seed=2)]
    manifests = [platform.materialize(rows) for rows in (first, second, first, first)]
    assert [manifest.cache for manifest in manifests] == ["MISS", "MISS", "MISS", "HIT"]
    assert holds(platform.spec, *first)


def test_a_lost_online_store_is_made_again_date_by_date(platform: Platform) -> None:
    rows = {day: some_rows(4, day, start=10 * number) for number, day in enumerate(DAYS)}
    features = [platform.features(rows[day], day) for day in DAYS]
    for each in features:
        platform.to_feast(each)
    for path in (settings().home / "feast" / "toy").glob("online.db*"):
        path.unlink()
    with pytest.raises(Exception, match=r"holds no features(.|\n)*updraft backfill toy --local"):
        look_up(platform.spec, ["e1"])
    assert [platform.to_feast(each).cache for each in features] == ["MISS"] * 4
    assert [platform.to_feast(each).cache for each in features] == ["HIT"] * 4
    assert holds(platform.spec, *(row for day in DAYS for row in rows[day]))


def test_a_lost_offline_file_is_made_again(platform: Platform) -> None:
    features = platform.features(some_rows(3))
    platform.to_feast(features)
    path = f"{offline_folder(platform.spec)}/date=2026-01-01.parquet"
    platform.store.delete(path)
    assert platform.to_feast(features).cache == "MISS" and platform.store.exists(path)


def test_writers_take_turns(platform: Platform) -> None:
    rows = {day: some_rows(4, day, start=10 * number) for number, day in enumerate(DAYS)}
    features = [platform.features(rows[day], day) for day in DAYS]
    with ThreadPoolExecutor(len(DAYS)) as pool:
        list(pool.map(platform.to_feast, features))
    assert holds(platform.spec, *(row for day in DAYS for row in rows[day]))


def test_dates_of_another_spec_do_not_disturb_a_backfill(platform: Platform) -> None:
    for day in DAYS[:2]:
        platform.materialize(some_rows(3, day), day)
    narrower = replace(platform.spec, {"features": [{"kind": "image_stats"}]})
    platform.materialize(some_rows(3, DAYS[0]), DAYS[0], narrower)
    assert holds(narrower, *some_rows(3, DAYS[0]))
    assert holds(platform.spec, *some_rows(3, DAYS[1]))


def test_more_rows_than_a_batch(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "BATCH", 7)
    rows = some_rows(40)
    assert platform.materialize(rows).metrics == {"read_back": 5}
    assert holds(platform.spec, *rows)


def test_groups_without_values_and_nan_come_back_as_they_are(platform: Platform) -> None:
    nan = [float("nan")] * 5
    platform.materialize([Row("x", features={"hog": None, "image_stats": nan}), *some_rows(3)])
    (found,) = look_up(platform.spec, ["x"])
    assert found is not None and found.values["hog"] is None and np.isnan(found.values["image_stats"]).all()


def test_a_future_date_is_refused(platform: Platform) -> None:
    tomorrow = str(datetime.now(UTC).date() + timedelta(days=1))
    features = platform.features(some_rows(2, tomorrow), tomorrow)
    with pytest.raises(BadInput, match="in the future"):
        platform.to_feast(features)
    assert not list(platform.store.list("toy/materialize")) and not list(platform.store.list("toy/offline"))


@pytest.mark.parametrize(("minute", "late", "column"), [(3000, 0, "event_time"), (0, 3000, "known_at")])
def test_a_row_from_the_future_is_named(platform: Platform, minute: int, late: int, column: str) -> None:
    today = str(datetime.now(UTC).date())
    ahead = Row("e9", today, minute=minute, late=late)
    features = platform.features([*some_rows(3), ahead], today)
    with pytest.raises(BadInput, match=f"1 rows have {column} in the future, the first of them entity 'e9' at"):
        platform.to_feast(features)
    assert not list(platform.store.list("toy/offline"))


def test_a_date_without_rows_is_materialized(platform: Platform) -> None:
    manifest = platform.materialize([])
    assert manifest.rows.published == 0 and manifest.metrics == {"read_back": 0}


def test_an_online_store_that_answers_otherwise_is_refused(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteOnlineStore, "online_write_batch", lambda *_: None)
    with pytest.raises(Refused, match="online store answers otherwise for entity 'e0'"):
        platform.materialize(some_rows(3))
    assert not list(platform.store.list("toy/materialize"))


def test_a_registry_that_lost_a_view_is_refused(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureStore, "apply", lambda *_: None)
    with pytest.raises(Refused, match="does not have the view features_"):
        platform.materialize(some_rows(3))


def test_the_artifact_is_the_same_in_every_home(new_platform: Callable[[], Platform]) -> None:
    one, two = (new_platform().materialize(some_rows(12)) for _ in range(2))
    assert one.digest == two.digest and one.key == two.key


def test_nothing_is_printed(platform: Platform, capfd: pytest.CaptureFixture[str]) -> None:
    platform.materialize(some_rows(3))
    assert capfd.readouterr().out == ""
