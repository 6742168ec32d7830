"""One conformance suite over every kind of online store, with real servers: written, looked up, expired, lost."""

from collections.abc import Callable
from dataclasses import replace as replaced
from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.config import replace
from tasks.core.errors import BadInput, Refused, UpdraftError
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.features.lookup import Found, look_up
from tasks.features.online import view_of
from tasks.runtime.online import open_online
from tests.features.conftest import TABLE, Platform, Row, some_rows
from tests.servers.online import PASSWORD, drop_connections, empty

DAYS = ("2026-01-01", "2026-01-02")


def found(spec: Project, *entities: str) -> list[Found | None]:
    return look_up(spec, entities)


def test_values_come_back_as_they_were_written(online: Platform) -> None:
    rows = [Row("ü'\"\n", minute=3, seed=1), *some_rows(20)]
    online.materialize(rows)
    for row, each in zip(rows, found(online.spec, *(row.entity for row in rows)), strict=True):
        assert each is not None and each.entity == row.entity and not each.expired
        assert each.event_time == row.event_time.replace(microsecond=each.event_time.microsecond)
        assert each.event_time.microsecond in (0, 7)
        assert {group: values.tolist() for group, values in each.values.items() if values is not None} == {
            "image_stats": row.values("image_stats", 5),
            "hog": row.values("hog", 36),
        }


def test_an_unknown_entity_is_none_beside_known_ones(online: Platform) -> None:
    online.materialize(some_rows(3))
    assert [each and each.entity for each in found(online.spec, "nobody", "e1", "", "e2")] == [None, "e1", None, "e2"]
    assert found(online.spec) == [] and found(online.spec, "nobody") == [None]


def test_strings_come_back(online: Platform) -> None:
    spec = Project.model_validate(TABLE)
    online.materialize([Row("e1", features={"numeric": [1.5], "shops": ["ü"]})], spec=spec)
    (each,) = found(spec, "e1")
    assert each is not None and each.values["shops"].tolist() == ["ü"] and each.values["numeric"].tolist() == [1.5]


def test_a_correction_of_the_same_event_replaces_and_removes(online: Platform) -> None:
    online.materialize([Row("e1", seed=1), Row("e2", seed=2)])
    online.materialize([Row("e1", seed=3)])
    one, two = found(online.spec, "e1", "e2")
    assert one is not None and one.values["image_stats"].tolist() == Row("e1", seed=3).values("image_stats", 5)
    assert two is None


def test_an_older_value_takes_the_place_of_a_newer_one_that_was_withdrawn(online: Platform) -> None:
    online.materialize([Row("e1", DAYS[0], seed=1)], DAYS[0])
    online.materialize([Row("e1", DAYS[1], seed=2)], DAYS[1])
    online.materialize([], DAYS[1])
    (each,) = found(online.spec, "e1")
    assert each is not None and each.event_time.day == 1
    assert each.values["image_stats"].tolist() == Row("e1", seed=1).values("image_stats", 5)


def test_values_of_another_spec_stand_beside_these(online: Platform) -> None:
    narrower = replace(online.spec, {"features": [{"kind": "image_stats"}]})
    for spec in (online.spec, narrower):
        online.materialize(some_rows(3), spec=spec)
    online.materialize([], spec=narrower)
    assert found(narrower, "e1") == [None] and found(online.spec, "e1") != [None]


@pytest.mark.parametrize("policy", ["reject", "default", "flag"])
def test_an_expired_value_never_passes_for_a_present_one(online: Platform, policy: str) -> None:
    now = datetime.now(UTC)
    today, fresh = str(now.date()), Row("fresh", str(now.date()), minute=(now.hour * 60 + now.minute) - 1)
    if fresh.minute < 0:
        pytest.skip("the day has just begun")
    old = replaced(fresh, entity="old", minute=fresh.minute - 60 * 49)
    online.materialize([fresh, old, Row("fresh", today, minute=fresh.minute - 9999, seed=5)], today)
    spec = replace(online.spec, {"online": {"ttl_hours": 48, "expired": policy}})
    assert [each and each.expired for each in found(spec, "fresh", "nobody")] == [False, None]
    if policy == "reject":
        with pytest.raises(Refused, match=r"entity 'old' have expired: 49\.\d hours old, allowed are 48\."):
            found(spec, "fresh", "old")
    else:
        assert [each and each.expired for each in found(spec, "old", "fresh")] == [
            True if policy == "flag" else None,
            False,
        ]
    assert found(online.spec, "old")[0] is not None


def test_marks_tell_what_the_store_holds(online: Platform) -> None:
    view, store = view_of(online.spec), open_online("toy")
    assert store.marks(view) == {}
    made = [online.materialize(some_rows(2, day), day) for day in DAYS]
    assert store.marks(view) == {m.partition: m.outputs["offline.parquet"].digest for m in made}
    store.mark(view, DAYS[0], None)
    assert list(store.marks(view)) == [DAYS[1]]


def test_a_store_that_was_emptied_is_noticed(online: Platform, server: str) -> None:
    features = [online.features(some_rows(3, day, start=10 * n), day) for n, day in enumerate(DAYS)]
    assert [online.to_feast(each).cache for each in features] == ["MISS", "MISS"]
    assert found(online.spec, "e1") != [None]
    empty(server)
    for path in (settings().home / "feast" / "toy").glob("online.db*"):
        path.unlink()
    with pytest.raises(UpdraftError, match=r"holds no features(.|\n)*updraft backfill toy --local"):
        found(online.spec, "e1")
    assert [online.to_feast(each).cache for each in features] == ["MISS", "MISS"]
    assert [online.to_feast(each).cache for each in features] == ["HIT", "HIT"]
    assert None not in found(online.spec, "e1", "e11")


def test_a_reader_needs_no_folder_of_the_writer(
    online: Platform, new_platform: Callable[..., Platform], server: str
) -> None:
    if not server:
        pytest.skip("SQLite is a file of one machine")
    online.materialize(some_rows(3))
    elsewhere = new_platform(settings().online_store.get_secret_value())
    assert found(elsewhere.spec, "e1") != [None]


@pytest.mark.parametrize(
    "url", [f"redis://:{PASSWORD}@127.0.0.1:9/2", "redis://u:hidden@127.0.0.1:9", "postgresql://u:hidden@127.0.0.1:9/x"]
)
def test_a_store_that_does_not_answer_is_named_without_its_password(
    new_platform: Callable[..., Platform], url: str
) -> None:
    url = url.replace(PASSWORD, "hidden")
    platform = new_platform(url)
    with pytest.raises(UpdraftError, match=r"store (redis|postgresql)://127\.0\.0\.1:9.*does not answer") as told:
        platform.materialize(some_rows(3))
    assert "hidden" not in str(told.value) and "hidden" not in repr(settings())


def test_a_reader_survives_a_server_that_drops_its_connection(online: Platform, server: str) -> None:
    online.materialize(some_rows(3))
    assert found(online.spec, "e1") != [None]
    drop_connections(server)
    assert found(online.spec, "e1") != [None]


@pytest.mark.parametrize("url", ["mysql://x/y", "somewhere"])
def test_other_stores_are_refused(new_platform: Callable[..., Platform], url: str) -> None:
    platform = new_platform(url)
    with pytest.raises(BadInput, match=r"UPDRAFT_ONLINE_STORE(.|\n)*redis://"):
        platform.materialize(some_rows(3))


def test_a_redis_password_that_feast_would_cut_is_refused(new_platform: Callable[..., Platform]) -> None:
    new_platform("redis://:a%2Cb@127.0.0.1:9")
    with pytest.raises(BadInput, match="comma"):
        open_online("toy").feast()


def test_the_ages_limit_is_that_of_the_event(online: Platform) -> None:
    online.materialize([Row("e1", minute=5)])
    age = datetime.now(UTC) - Row("e1", minute=5).event_time
    for hours, expired in ((age / timedelta(hours=1) + 1, False), (age / timedelta(hours=1) - 1, True)):
        spec = replace(online.spec, {"online": {"ttl_hours": hours, "expired": "flag"}})
        (each,) = found(spec, "e1")
        assert each is not None and each.expired is expired
