"""The registry: aliases move by compare-and-swap, versions are immutable, the schema is Alembic's."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import BadInput, Conflict
from tasks.core.registry import HEAD, Registry
from tests.servers.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database()


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    opened = Registry(url)
    yield opened
    opened.close()


def test_head_is_the_newest_revision() -> None:
    import tasks.core.migrations as migrations

    (folder,) = migrations.__path__
    newest = max(path.name[:4] for path in Path(folder, "versions").glob("[0-9]*.py"))
    assert newest == HEAD


def test_many_processes_may_open_a_new_registry_at_once(url: str) -> None:
    failures = []

    def open_it() -> None:
        try:
            Registry(url).versions("p")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_candidate_is_registered_once_and_numbers_count_up(registry: Registry) -> None:
    first = registry.register("p", "key-a", "a/manifest.json", {"accuracy": 0.9})
    again = registry.register("p", "key-a", "other", {"accuracy": 0.1})
    second = registry.register("p", "key-b", "b/manifest.json", {})
    assert (first.version, second.version) == (1, 2)
    assert again == first
    assert registry.register("q", "key-a", "a/manifest.json", {}).version == 1


def test_an_alias_moves_only_from_where_it_was_expected(registry: Registry) -> None:
    for key in "abc":
        registry.register("p", key, key, {})
    assert registry.alias("p") is None
    registry.move_alias("p", "champion", 1, expected=None, who="me", why="first")
    registry.move_alias("p", "champion", 2, expected=1, who="me", why="better")
    for expected in (None, 1, 3):
        with pytest.raises(Conflict):
            registry.move_alias("p", "champion", 3, expected=expected, who="late", why="")
    champion = registry.alias("p")
    assert champion is not None
    assert champion.version == 2
    assert [(row["details"]["from"], row["details"]["to"]) for row in registry.audit_log("p")] == [(None, 1), (1, 2)]


def test_of_two_promotions_racing_one_wins_and_the_other_is_told(registry: Registry) -> None:
    outcomes = []
    for key in ("a", "b", "c", "d"):
        registry.register("p", key, key, {})
    registry.move_alias("p", "champion", 1, expected=None, who="me", why="")

    def promote(version: int) -> None:
        try:
            registry.move_alias("p", "champion", version, expected=1, who="me", why="")
            outcomes.append(version)
        except Conflict:
            outcomes.append(None)

    threads = [threading.Thread(target=promote, args=(version,)) for version in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [version for version in outcomes if version]
    champion = registry.alias("p")
    assert len(outcomes) == 3
    assert champion is not None
    assert winners == [champion.version]


def test_a_registry_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(BadInput, match="UPDRAFT_DATABASE_URL"):
        Registry(f"sqlite:///{tmp_path / 'broken.db'}")
    with pytest.raises(BadInput) as caught:
        Registry("not an address")
    assert "UPDRAFT_DATABASE_URL" in str(caught.value)
