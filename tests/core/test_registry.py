"""The registry: aliases move by compare-and-swap, versions and the audit log never change, the schema is Alembic's."""

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tasks.core.errors import BadInput, Conflict, Refused
from tasks.core.registry import HEAD, Registry


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    opened = Registry(url)
    yield opened
    opened.close()


def register(registry: Registry, *keys: str) -> None:
    for key in keys:
        registry.register("p", key, f"{key}/manifest.json", {"candidate": key})


def execute(url: str, *statements: str) -> None:
    """Somebody who writes into the database directly."""
    engine = sa.create_engine(url)
    try:
        with engine.begin() as db:
            for statement in statements:
                db.exec_driver_sql(statement)
    finally:
        engine.dispose()


def old_registry(url: str) -> None:
    """A registry as the first release left it: two versions, the second champion."""
    from alembic import command
    from alembic.config import Config

    import tasks.core.migrations as migrations

    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    move = "INSERT INTO audit (project, action, who, run_id, details, at) VALUES ('p', 'move_alias', 'deploy', 'r', "
    execute(
        url,
        *(f"INSERT INTO versions VALUES ('p', {n}, 'k{n}', 'k{n}', '{{\"n\": {n}}}', {_AT})" for n in (1, 2)),
        f"INSERT INTO aliases VALUES ('p', 'champion', 2, {_AT}), ('p', 'previous', 1, {_AT})",
        move + f'\'{{"alias": "champion", "from": null, "to": 1, "share": 0.1}}\', {_AT})',
        move + f'\'{{"alias": "champion", "from": 1, "to": 2, "why": "ä"}}\', {_AT})',
    )


_AT = "'2026-11-21 15:54:09.492740'"


def test_head_is_the_newest_revision() -> None:
    import tasks.core.migrations as migrations

    (folder,) = migrations.__path__
    newest = max(path.name[:4] for path in Path(folder, "versions").glob("[0-9]*.py"))
    assert newest == HEAD


@pytest.mark.parametrize("old", [False, True])
def test_many_processes_may_open_a_registry_without_its_schema_at_once(url: str, old: bool) -> None:
    if old:
        old_registry(url)
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


def test_an_old_registry_is_taken_over_with_all_it_knows(url: str) -> None:
    old_registry(url)
    registry = Registry(url)
    assert [(v.version, v.key, v.details) for v in registry.versions("p")] == [(1, "k1", {"n": 1}), (2, "k2", {"n": 2})]
    assert registry.aliases("p") == {"champion": 2, "previous": 1}
    assert [row["details"]["to"] for row in registry.audit_log("p")] == [1, 2]
    assert registry.verify_audit()[0] == 2
    register(registry, "new")
    registry.move_alias("p", "champion", 3, expected=2, who="ana", why="better")
    assert registry.aliases("p") == {"champion": 3, "previous": 2}
    assert registry.verify_audit()[0] == 4
    registry.close()
    with pytest.raises(sa.exc.DBAPIError, match="never changed"):
        execute(url, "UPDATE versions SET key = 'other' WHERE version = 1")


def test_a_registry_of_a_newer_release_is_refused(url: str) -> None:
    Registry(url).close()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BadInput, match=r"schema 9999(.|\n)*newer"):
        Registry(url)


def test_a_candidate_is_registered_once_and_numbers_count_up(registry: Registry) -> None:
    first = registry.register("p", "key-a", "a/manifest.json", {"accuracy": 0.9})
    again = registry.register("p", "key-a", "other", {"accuracy": 0.1})
    second = registry.register("p", "key-b", "b/manifest.json", {}, who="ana", why="found it", run_id="r")
    assert (first.version, second.version) == (1, 2)
    assert again == first
    assert registry.register("q", "key-a", "a/manifest.json", {}).version == 1
    _, row = registry.audit_log("p")
    assert (row["who"], row["action"], row["run_id"]) == ("ana", "register", "r")
    assert row["details"] == {"version": 2, "key": "key-b", "why": "found it"}
    assert registry.version("p", 2) == second
    with pytest.raises(BadInput, match=r"no version 3(.|\n)*1, 2"):
        registry.version("p", 3)


def test_an_alias_moves_only_from_where_it_was_expected(registry: Registry) -> None:
    register(registry, *"abc")
    assert registry.alias("p") is None
    registry.move_alias("p", "champion", 1, expected=None, who="me", why="first")
    registry.move_alias("p", "champion", 2, expected=1, who="me", why="better")
    for expected in (None, 1, 3):
        with pytest.raises(Conflict, match=r"it is version 2 now, moved by me .*: better"):
            registry.move_alias("p", "champion", 3, expected=expected, who="late", why="")
    champion = registry.alias("p")
    assert champion is not None
    assert champion.version == 2
    moves = [row["details"] for row in registry.audit_log("p") if row["action"] == "move_alias"]
    assert [(move["from"], move["to"]) for move in moves] == [(None, 1), (1, 2)]


def test_the_champion_before_is_remembered_and_other_aliases_stay(registry: Registry) -> None:
    register(registry, *"abc")
    registry.move_alias("p", "challenger", 3, expected=None, who="me", why="")
    for before, version in ((None, 1), (1, 2), (2, 1)):
        registry.move_alias("p", "champion", version, expected=before, who="me", why="")
    assert registry.aliases("p") == {"champion": 1, "previous": 2, "challenger": 3}
    with pytest.raises(BadInput, match="follows champion"):
        registry.move_alias("p", "previous", 3, expected=2, who="me", why="")
    with pytest.raises(BadInput, match="no version 9"):
        registry.move_alias("p", "champion", 9, expected=1, who="me", why="")
    assert registry.aliases("q") == {}


def test_a_move_that_cannot_be_audited_does_not_happen(registry: Registry) -> None:
    register(registry, *"ab")
    registry.move_alias("p", "champion", 1, expected=None, who="me", why="")
    with pytest.raises(TypeError):
        registry.move_alias("p", "champion", 2, expected=1, who="me", why=object())  # type: ignore[arg-type]
    assert registry.aliases("p") == {"champion": 1}
    assert registry.verify_audit()[0] == 3


ROUNDS, RACERS = 20, 4


def race(url: str, number: int, start: Any, results: Any) -> None:
    """One of the processes that promote a version of their own in every round; it says which rounds it won."""
    registry, won = Registry(url), []
    for round_ in range(ROUNDS):
        start.wait(60)
        expected = registry.aliases("p").get("champion")
        start.wait(60)
        try:
            version = 1 + number + RACERS * (round_ % 2)
            registry.move_alias("p", "champion", version, expected=expected, who=str(number), why=str(round_))
            won.append((round_, version))
        except Conflict as told:
            assert "moved by" in str(told)
    registry.close()
    results.put(won)


@pytest.mark.slow
def test_of_processes_that_race_to_promote_one_wins_and_the_others_are_told(url: str) -> None:
    registry, spawn = Registry(url), multiprocessing.get_context("spawn")
    register(registry, *map(str, range(2 * RACERS)))
    start, results = spawn.Barrier(RACERS), spawn.Queue()
    racers = [spawn.Process(target=race, args=(url, number, start, results)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    won = sorted(each for _ in racers for each in results.get(timeout=120))
    for racer in racers:
        racer.join()
    assert [round_ for round_, _ in won] == list(range(ROUNDS))
    assert registry.aliases("p") == {"champion": won[-1][1], "previous": won[-2][1]}
    moves = [row["details"] for row in registry.audit_log("p") if row["action"] == "move_alias"]
    assert [move["to"] for move in moves] == [version for _, version in won]
    assert [move["from"] for move in moves] == [None, *(version for _, version in won[:-1])]
    assert registry.verify_audit()[0] == 2 * RACERS + ROUNDS
    registry.close()


_CHANGES = [
    "UPDATE versions SET details = '{}' WHERE version = 1",
    "DELETE FROM versions WHERE version = 1",
    "UPDATE audit SET who = 'nobody'",
    "DELETE FROM audit WHERE id = 1",
]
_CHANGES_OF = {
    "sqlite": [
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE id = 1",
        "INSERT OR REPLACE INTO versions SELECT project, version, 'other', package, details, at FROM versions",
        "INSERT OR REPLACE INTO versions SELECT project, 9, key, package, details, at FROM versions",
    ],
    "postgresql": ["TRUNCATE audit", "TRUNCATE versions"],
}


def test_the_database_refuses_to_change_versions_and_the_audit_log(registry: Registry, url: str) -> None:
    register(registry, "a")
    registry.move_alias("p", "champion", 1, expected=None, who="me", why="")
    before = registry.versions("p"), registry.audit_log("p")
    for statement in _CHANGES + _CHANGES_OF[url.partition(":")[0]]:
        with pytest.raises(sa.exc.DBAPIError, match="never changed"):
            execute(url, statement)
        assert (registry.versions("p"), registry.audit_log("p")) == before


_TRIGGERS = {
    "sqlite": [f"DROP TRIGGER audit_not_{action}" for action in ("update", "delete", "replaced")],
    "postgresql": ["ALTER TABLE audit DISABLE TRIGGER USER"],
}


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit SET who = 'nobody' WHERE id = 2", "row 2"),
        ("UPDATE audit SET at = '2026-01-01 00:00:00.000000' WHERE id = 3", "row 3"),
        ("DELETE FROM audit WHERE id = 2", "row 3"),
        ("DELETE FROM audit WHERE id = 1", "row 2"),
    ],
)
def test_whoever_drops_the_triggers_is_found_out(registry: Registry, url: str, statement: str, broken: str) -> None:
    register(registry, *"abc")
    assert registry.verify_audit()[0] == 3
    execute(url, *_TRIGGERS[url.partition(":")[0]], statement)
    with pytest.raises(Refused, match=f"breaks at {broken} "):
        registry.verify_audit()


def test_a_log_that_was_cut_off_lacks_the_digest_that_was_noted(registry: Registry, url: str) -> None:
    register(registry, *"abc")
    noted = registry.verify_audit()[1]
    register(registry, "d")
    assert registry.verify_audit(noted)[0] == 4
    execute(url, *_TRIGGERS[url.partition(":")[0]], "DELETE FROM audit WHERE id >= 3")
    assert registry.verify_audit()[0] == 2
    with pytest.raises(Refused, match="cut off"):
        registry.verify_audit(noted)


def test_keys_are_kept_by_their_digests_until_they_are_revoked(registry: Registry) -> None:
    first = registry.add_key(name="app", project="p", scopes=["predict", "feedback"], digest="a" * 64, who="ana")
    second = registry.add_key(name="all", project="*", scopes=["admin"], digest="b" * 64, who="ana", per_minute=60)
    assert (first.scopes, first.per_minute, second.per_minute) == (("predict", "feedback"), None, 60)
    assert registry.keys() == [first, second]
    revoked = registry.revoke_key(first.id, "bob")
    assert revoked.revoked_at is not None
    assert registry.revoke_key(first.id, "eve") == revoked
    kept = registry.keys()
    assert [key.revoked_at is None for key in kept] == [False, True]
    with pytest.raises(BadInput, match="no key 9"):
        registry.revoke_key(9, "bob")
    told = [(row["project"], row["action"], row["who"], row["details"]["name"]) for row in registry.audit_log()]
    assert told == [
        ("p", "add_key", "ana", "app"),
        ("*", "add_key", "ana", "all"),
        ("p", "revoke_key", "bob", "app"),
    ]


def test_a_registry_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(BadInput, match="UPDRAFT_DATABASE_URL"):
        Registry(f"sqlite:///{tmp_path / 'broken.db'}")
    with pytest.raises(BadInput) as caught:
        Registry("not an address")
    assert "UPDRAFT_DATABASE_URL" in str(caught.value)
