"""The materialize stage, with real Feast, DuckDB and SQLite."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from feast import FeatureStore

from tasks.core.config import replace
from tasks.core.errors import BadInput, Refused
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.features.feature_store import open_feature_store
from tasks.features.materialize import offline_folder
from tests.features.conftest import Platform, Row, some_rows

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04")


def _online(spec: Project, *rows: Row) -> list[dict[str, np.ndarray]]:
    """What Feast's online store answers for each row's entity."""
    store = open_feature_store(spec.name, settings().home / "feast" / spec.name)
    entities = [{"entity": row.entity} for row in rows]
    found = store.get_online_features(store.get_feature_service("toy_features"), entities).to_dict()
    return [{f.kind: found[f.kind][number] for f in spec.features} for number in range(len(rows))]


def _holds(spec: Project, row: Row) -> bool:
    (online,) = _online(spec, row)
    return all(np.array_equal(row.values(kind, len(values)), values) for kind, values in online.items())


def test_a_date_is_in_both_stores(platform: Platform) -> None:
    rows = some_rows(30)
    manifest = platform.materialize(rows)
    published = platform.path(manifest, "offline.parquet")
    offline = platform.store.fetch(f"{offline_folder(platform.spec)}/date=2026-01-01.parquet")
    assert offline.read_bytes() == published.read_bytes()
    assert manifest.rows.published == 30 and manifest.metrics == {"read_back": 5}
    assert all(_holds(platform.spec, row) for row in (rows[0], rows[17], rows[29]))
    unknown = Row("nobody")
    assert _online(platform.spec, unknown)[0] == {"image_stats": None, "hog": None}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newest_value_is_online_in_whatever_order_dates_arrive(platform: Platform, order: tuple[int, int]) -> None:
    versions = [Row("e1", day, seed=number) for number, day in enumerate(DAYS[:2])]
    for number in order:
        platform.materialize([versions[number], *some_rows(3, DAYS[number], start=10)], DAYS[number])
    assert _holds(platform.spec, versions[1])


def test_a_corrected_date_replaces_its_values(platform: Platform) -> None:
    platform.materialize([Row("e1", seed=1)])
    platform.materialize([Row("e1", seed=2)])
    assert _holds(platform.spec, Row("e1", seed=2))


def test_writers_take_turns(platform: Platform) -> None:
    rows = {day: some_rows(4, day, start=10 * number) for number, day in enumerate(DAYS)}
    features = {day: platform.features(rows[day], day) for day in DAYS}

    def write(day: str) -> None:
        platform.run("tasks.features.materialize:materialize", {"features": [features[day]]}, day)

    with ThreadPoolExecutor(len(DAYS)) as pool:
        list(pool.map(write, DAYS))
    assert all(_holds(platform.spec, row) for day in DAYS for row in rows[day])


def test_dates_of_another_spec_do_not_disturb_a_backfill(platform: Platform) -> None:
    for day in DAYS[:2]:
        platform.materialize(some_rows(3, day), day)
    narrower = replace(platform.spec, {"features": [{"kind": "image_stats"}]})
    platform.materialize(some_rows(3, DAYS[0]), DAYS[0], narrower)
    assert _holds(narrower, some_rows(3, DAYS[0])[1])


def test_a_future_date_is_refused(platform: Platform) -> None:
    tomorrow = str(datetime.now(UTC).date() + timedelta(days=1))
    features = platform.features(some_rows(2, tomorrow), tomorrow)
    with pytest.raises(BadInput, match="in the future"):
        platform.run("tasks.features.materialize:materialize", {"features": [features]}, tomorrow)
    assert not list(platform.store.list("toy/materialize")) and not list(platform.store.list("toy/offline"))


def test_a_date_without_rows_is_materialized(platform: Platform) -> None:
    manifest = platform.materialize([])
    assert manifest.rows.published == 0 and manifest.metrics == {"read_back": 0}


def test_an_online_store_that_answers_otherwise_is_refused(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureStore, "materialize", lambda *_: None)
    with pytest.raises(Refused, match="online store has another image_stats for entity 'e0'"):
        platform.materialize(some_rows(3))
    assert not list(platform.store.list("toy/materialize"))


def test_the_artifact_is_the_same_in_every_home(new_platform: Callable[[], Platform]) -> None:
    one, two = (new_platform().materialize(some_rows(12)) for _ in range(2))
    assert one.digest == two.digest and one.key == two.key


def test_nothing_is_printed(platform: Platform, capfd: pytest.CaptureFixture[str]) -> None:
    platform.materialize(some_rows(3))
    assert capfd.readouterr().out == ""
