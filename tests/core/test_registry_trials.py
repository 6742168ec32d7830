"""Trials: one per project, changed by compare-and-swap, ended by a promotion, passed over when their time is up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.errors import BadInput, Conflict
from tasks.core.registry import Registry, Trial
from tests.servers.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'registry.db'}"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.database()
    opened = Registry(url)
    for key in "abc":
        opened.register("p", key, f"{key}/manifest.json", {})
    opened.move_alias("p", "champion", 1, expected=None, who="me", why="first")
    yield opened
    opened.close()


def begin(
    registry: Registry, share: float = 0.0, expected: Trial | None = None, version: int = 2, minutes: float = 5
) -> Trial:
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=minutes)
    return registry.set_trial(
        "p", version, "canary" if share else "shadow", share, until=until, expected=expected, who="deploy", why="tried"
    )


def actions(registry: Registry) -> list[str]:
    return [row["action"] for row in registry.audit_log("p")][4:]


def test_a_trial_takes_steps_and_ends_with_its_alias(registry: Registry) -> None:
    warm = begin(registry)
    assert registry.trial("p") == warm and (warm.mode, warm.share) == ("shadow", 0)
    assert registry.aliases("p") == {"champion": 1, "challenger": 2}
    step = begin(registry, 0.05, warm)
    assert registry.trials() == {"p": step}
    registry.end_trial(step, who="deploy", why="too slow", found={"latency_ratio": 3.2})
    assert registry.trial("p") is None
    assert registry.aliases("p") == {"champion": 1}
    assert actions(registry) == ["trial", "trial", "end_trial"]
    told = registry.audit_log("p")[-1]["details"]
    assert told == {"version": 2, "mode": "canary", "share": 0.05, "why": "too slow", "latency_ratio": 3.2}
    registry.verify_audit()


def test_who_does_not_know_the_trial_as_it_is_cannot_change_it(registry: Registry) -> None:
    warm = begin(registry)
    step = begin(registry, 0.05, warm)
    for expected in (None, warm):
        with pytest.raises(Conflict, match=r"version 2 is tried \(canary, 0\.05\)(.|\n)*withdraw p"):
            begin(registry, 0.5, expected, version=3)
    with pytest.raises(Conflict):
        registry.end_trial(warm, who="late", why="")
    assert registry.trial("p") == step
    registry.end_trial(step, who="me", why="")
    with pytest.raises(Conflict, match="it was ended"):
        begin(registry, 0.5, step)
    with pytest.raises(BadInput, match="no version 9"):
        begin(registry, version=9)
    assert actions(registry) == ["trial", "trial", "end_trial"]


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_a_promotion_ends_the_trial_in_the_same_moment(registry: Registry, alias: str) -> None:
    begin(registry, 0.05)
    registry.move_alias("p", alias, 3, expected=registry.aliases("p")[alias], who="ana", why="I know better")
    assert registry.trial("p") is None
    expected = {"champion": 3, "previous": 1} if alias == "champion" else {"champion": 1, "challenger": 3}
    assert registry.aliases("p") == expected


def test_a_trial_whose_owner_died_runs_out_and_the_next_takes_its_place(registry: Registry) -> None:
    left = begin(registry, 0.05, minutes=-1)
    assert registry.trial("p") is None
    assert begin(registry, version=3).version == 3
    assert registry.aliases("p")["challenger"] == 3
    with pytest.raises(Conflict):
        registry.end_trial(left, who="deploy", why="it came back")
