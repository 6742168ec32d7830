"""Models within a budget: a champion and its challenger stay together, and what answers no longer goes."""

import gc
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving import memory
from serving.champions import Champions
from serving.memory import Memory
from serving.models import Live
from serving.reports import Reports
from serving.workers import Workers
from tasks.core.errors import UpdraftError
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tests.packages import register, write_project

Room = Callable[[float], tuple[Memory, list[Live]]]


def _loaded(lives: list[Live]) -> list[int]:
    return [number for number, live in enumerate(lives) if live.model.loaded]


def test_a_champion_and_its_challenger_make_no_room_for_each_other(room: Room) -> None:
    found, lives = room(25)
    other, champion, challenger, _ = (live.model for live in lives)
    other.get()
    found.pair(champion, challenger)
    assert _loaded(lives) == [1, 2]
    # Another project's model takes the place of the one less asked for; then that one takes the other project's.
    champion.get()
    other.get()
    assert _loaded(lives) == [0, 1]
    challenger.get()
    assert _loaded(lives) == [1, 2]


def test_a_challenger_that_is_seldom_asked_stays_while_its_champion_is_asked(room: Room) -> None:
    found, lives = room(35)
    champion, challenger, other, newest = (live.model for live in lives)
    found.pair(champion, challenger)
    other.get()
    champion.get()
    newest.get()
    assert _loaded(lives) == [0, 1, 3]


def test_where_both_have_no_room_the_champion_stays_and_nothing_is_loaded_again_to_find_out(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, (champion, challenger, *_) = room(15)
    champion.model.get()
    for _ in range(2):
        with pytest.raises(UpdraftError, match="With the champion it takes 20 MiB, and a worker has 15"):
            found.pair(champion.model, challenger.model)
        assert champion.model.loaded and found.mib() == 10
        monkeypatch.setattr(memory, "_load", None)  # the second time it is known


def test_what_is_forgotten_goes_with_its_last_request(room: Room) -> None:
    found, lives = room(25)
    live = lives.pop(0)
    predictor, gone = live.predictor, weakref.ref(live.predictor)
    live.model.forget()
    assert found.mib() == 0
    assert live.predictor is predictor, "a request that began with it loads it again"
    assert found.mib() == 0
    del live, predictor
    gc.collect()
    assert gone() is None


def test_an_endpoint_without_room_for_both_does_not_try_and_says_so_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resident = iter(range(0, 1000, 10))
    monkeypatch.setattr(memory, "_resident", lambda: float(next(resident)))
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(home / "projects"))
    settings.cache_clear()
    write_project(home / "projects")
    store, registry = LocalStore(home / "store"), Registry(settings().registry_url)
    for key in ("first", "second"):
        register(registry, store, key)
    registry.move_alias("tiny", "champion", 1, expected=None, who="test", why="test")
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=5)
    registry.set_trial("tiny", 2, "canary", 0.5, until=until, expected=None, who="test", why="test")
    reports = Reports(registry, "http://here")
    small, large = (Champions(registry, store, Memory(mib), Workers(home), reports) for mib in (15, 25))
    for _ in range(3):
        small.refresh()
    assert small.challenger("tiny") is None and small.challengers() == {}
    champion = small.live("tiny")
    assert champion and champion.version == 1 and champion.model.loaded
    (said,) = [record for record in caplog.records if "version 2 is not tried" in record.getMessage()]
    assert "UPDRAFT_SERVING_MEMORY_MIB" in said.getMessage() and not said.exc_info
    large.refresh()
    assert large.challengers() == {"tiny": {"version": 2, "mode": "canary", "share": 0.5}}
    registry.close()
