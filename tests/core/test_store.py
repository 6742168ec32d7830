"""The conformance suite of artifact stores: a new store adds one line to the fixture."""

import threading
from pathlib import Path

import pytest

from tasks.core.artifacts import MANIFEST
from tasks.core.errors import BadInput
from tasks.core.store import LocalStore, Store, open_store


@pytest.fixture(params=["local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return {"local": lambda: LocalStore(tmp_path / "store")}[request.param]()


def _artifact(store: Store, name: str, text: str) -> Path:
    folder = store.scratch(name)
    (folder / "sub").mkdir()
    (folder / "sub" / "data.txt").write_text(text)
    (folder / MANIFEST).write_text("{}")
    return folder


def test_what_was_published_is_there_whole(store: Store) -> None:
    assert not store.exists(f"p/s/k/{MANIFEST}")
    assert store.publish(_artifact(store, "a", "one"), "p/s/k")
    assert store.exists(f"p/s/k/{MANIFEST}")
    assert store.read_bytes("p/s/k/sub/data.txt") == b"one"
    assert list(store.list("p/s")) == [f"p/s/k/{MANIFEST}", "p/s/k/sub/data.txt"]
    assert (store.fetch("p/s/k") / "sub" / "data.txt").read_text() == "one"


def test_the_first_of_two_publishers_wins(store: Store) -> None:
    assert store.publish(_artifact(store, "a", "one"), "p/s/k")
    late = _artifact(store, "b", "two")
    assert not store.publish(late, "p/s/k")
    assert store.read_bytes("p/s/k/sub/data.txt") == b"one"
    assert not late.exists()


def test_of_many_publishers_at_once_exactly_one_wins(store: Store) -> None:
    folders = [_artifact(store, f"w{n}", str(n)) for n in range(8)]
    won: list[bool] = []
    threads = [threading.Thread(target=lambda f=f: won.append(store.publish(f, "p/s/k"))) for f in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_scratch_drops_what_a_killed_attempt_left(store: Store) -> None:
    (store.scratch("a") / "half").write_text("x")
    assert list(store.scratch("a").iterdir()) == []


def test_a_file_is_replaced_and_deleted(store: Store) -> None:
    store.write_bytes("p/latest.json", b"1")
    store.write_bytes("p/latest.json", b"2")
    assert store.read_bytes("p/latest.json") == b"2"
    store.delete("p/latest.json")
    store.delete("p/latest.json")
    assert not store.exists("p/latest.json")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("p/latest.json")
    with pytest.raises(FileNotFoundError):
        store.fetch("p/latest.json")


def test_an_unusable_store_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="UPDRAFT_STORE"):
        open_store(str(tmp_path / "file"))
    with pytest.raises(BadInput, match="UPDRAFT_STORE"):
        open_store("ftp://somewhere/else")
