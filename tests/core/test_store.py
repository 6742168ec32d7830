"""The conformance suite of artifact stores: a new store adds one line to the fixture."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.artifacts import MANIFEST
from tasks.core.errors import BadInput
from tasks.core.settings import ROOT
from tasks.core.store import Store, open_store

NAMES = [
    "#50%+&?.txt",
    "a b.txt",
    "a-b.txt",
    "a.txt",
    "a/b.txt",
    "date=2026-01-01/x",
    "e\u0301",
    "é",
    "日本/画像",
    "😀.png",
]
"""Two of them look alike and are different files."""


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, home: Path) -> Store:
    if request.param == "s3":
        return open_store(f"s3://{request.getfixturevalue('s3').bucket()}/some/prefix")
    return open_store(str(home / "store"))


def _artifact(store: Store, name: str, text: str, files: int = 1) -> Path:
    folder = store.scratch(name)
    (folder / "sub").mkdir()
    for number in range(files):
        (folder / "sub" / f"data{number or ''}.txt").write_text(text)
    (folder / MANIFEST).write_text("{}")
    return folder


PUBLISH = """
import sys
from tasks.core.store import open_store
from tests.core.test_store import _artifact
store, name, files = open_store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
folder = _artifact(store, name, name, files)
print("ready", flush=True)
sys.stdin.readline()
print(store.publish(folder, "p/s/k"), flush=True)
"""


def _publisher(store: Store, name: str, files: int) -> subprocess.Popen[str]:
    """Another process that waits for a line, and publishes."""
    command = [sys.executable, "-c", PUBLISH, store.uri, name, str(files)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def _go(process: subprocess.Popen[str]) -> None:
    print(file=process.stdin, flush=True)


def _at_once(calls: list[Callable[[], bool]]) -> list[bool]:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda call=call: results.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results)


def test_what_was_published_is_there_whole(store: Store) -> None:
    assert not store.exists(f"p/s/k/{MANIFEST}")
    assert store.publish(_artifact(store, "a", "one"), "p/s/k")
    assert store.exists(f"p/s/k/{MANIFEST}")
    assert store.exists("p/s/k/sub/data.txt")
    assert not store.exists("p/s/k/sub")
    assert store.read_bytes("p/s/k/sub/data.txt") == b"one"
    assert list(store.list("p/s")) == [f"p/s/k/{MANIFEST}", "p/s/k/sub/data.txt"]
    assert list(store.list("p/s/k/sub")) == ["p/s/k/sub/data.txt"]
    assert list(store.list("p/s/k/s")) == []
    assert (store.fetch("p/s/k") / "sub" / "data.txt").read_text() == "one"
    assert (store.fetch("p/s/k/sub") / "data.txt").read_text() == "one"
    assert store.fetch("p/s/k/sub/data.txt").read_text() == "one"
    assert json.loads(store.fetch(f"p/s/k/{MANIFEST}").read_text()) == {}


def test_the_first_of_two_publishers_wins(store: Store) -> None:
    assert store.publish(_artifact(store, "a", "one"), "p/s/k")
    late = _artifact(store, "b", "two")
    assert not store.publish(late, "p/s/k")
    assert store.read_bytes("p/s/k/sub/data.txt") == b"one"
    assert not late.exists()


def test_of_many_publishers_at_once_exactly_one_wins(store: Store) -> None:
    folders = [_artifact(store, f"w{n}", str(n)) for n in range(8)]
    won = _at_once([lambda folder=folder: store.publish(folder, "p/s/k") for folder in folders])
    assert won == [False] * 7 + [True]


@pytest.mark.slow
def test_an_artifact_of_concurrent_processes_is_all_of_one(store: Store) -> None:
    processes = [_publisher(store, f"worker-{n}", files=12) for n in range(3)]
    for process in processes:
        _go(process)
    answers = [process.communicate()[0].strip() for process in processes]
    assert sorted(answers) == ["False", "False", "True"]
    winner = f"worker-{answers.index('True')}".encode()
    assert {store.read_bytes(path) for path in store.list("p/s/k") if path.endswith(".txt")} == {winner}
    assert len(list(store.list("p/s/k"))) == 13


@pytest.mark.slow
def test_a_publisher_killed_half_way_leaves_nothing_to_see(store: Store, request: pytest.FixtureRequest) -> None:
    process = _publisher(store, "a", files=60)
    _go(process)
    if store.uri.startswith("s3://"):
        server = request.getfixturevalue("s3")
        bucket = store.uri.split("/")[2]
        while sum(line.startswith(f"PUT /{bucket}/") for line in server.requests()) < 20:
            assert process.poll() is None
            time.sleep(0.01)
    process.kill()
    process.communicate()
    seen = list(store.list("p"))
    assert seen == [] or len(seen) == 61  # a rename cannot be caught half way
    assert store.exists("p/s/k/sub/data.txt") == bool(seen)
    assert store.publish(_artifact(store, "a", "a", files=60), "p/s/k") == (not seen)
    assert len(list(store.list("p/s/k"))) == 61
    assert {path.read_text() for path in (store.fetch("p/s/k") / "sub").iterdir()} == {"a"}


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
    for read in (store.read_bytes, store.fetch, lambda path: store.read_range(path, 0, 1)):
        with pytest.raises(FileNotFoundError):
            read("p/latest.json")


def test_a_new_file_is_put_once(store: Store) -> None:
    assert store.put_new("p/raw/a.png", b"first")
    assert not store.put_new("p/raw/a.png", b"second")
    assert store.read_bytes("p/raw/a.png") == b"first"
    wins = _at_once([lambda n=n: store.put_new("p/raw/b.png", str(n).encode()) for n in range(8)])
    assert wins == [False] * 7 + [True]


def test_a_reader_never_sees_a_part_of_a_file_that_is_replaced(store: Store) -> None:
    values = [bytes([n]) * 100_000 for n in range(4)]
    store.write_bytes("p/x", values[0])
    writer = threading.Thread(target=lambda: [store.write_bytes("p/x", value) for value in values * 3])
    writer.start()
    while writer.is_alive():
        assert store.read_bytes("p/x") in values
        assert store.fetch("p/x").read_bytes() in values
    writer.join()
    assert store.fetch("p/x").read_bytes() == values[-1]


def test_a_range_is_read_alone(store: Store) -> None:
    store.write_bytes("p/x", b"0123456789")
    assert store.read_range("p/x", 2, 3) == b"234"
    assert store.read_range("p/x", 8, 100) == b"89"
    assert store.read_range("p/x", 10, 5) == b""
    assert store.read_range("p/x", 3, 0) == b""
    store.publish(_artifact(store, "a", "in an artifact"), "p/s/k")
    assert store.read_range("p/s/k/sub/data.txt", 3, 2) == b"an"


def test_names_are_any_unicode_and_come_sorted(store: Store) -> None:
    for name in reversed(NAMES):
        store.write_bytes(f"p/raw/{name}", name.encode())
    expected = sorted(f"p/raw/{name}" for name in NAMES)
    assert list(store.list("p/raw")) == list(store.list("p")) == list(store.list("")) == expected
    assert all(store.read_bytes(f"p/raw/{name}") == name.encode() for name in NAMES)
    folder = store.scratch("a")
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    (folder / MANIFEST).write_text("{}")
    assert store.publish(folder, "p/s/k")
    assert [path for path in store.list("p/s/k") if not path.endswith(MANIFEST)] == sorted(f"p/s/k/{n}" for n in NAMES)
    assert all((store.fetch("p/s/k") / name).read_text(encoding="utf-8") == name for name in NAMES)


def test_infos_tell_size_and_change(store: Store) -> None:
    store.write_bytes("p/a/x", b"one")
    store.write_bytes("p/a/y", b"12345")
    before = {info.path: info for info in store.infos("p")}
    assert {path: info.size for path, info in before.items()} == {"p/a/x": 3, "p/a/y": 5}
    assert all(abs(info.modified - time.time()) < 60 for info in before.values())
    store.write_bytes("p/a/x", b"two")
    after = {info.path: info for info in store.infos("p/a")}
    assert after["p/a/x"].stamp != before["p/a/x"].stamp
    assert after["p/a/y"] == before["p/a/y"]


def test_a_fetched_folder_follows_the_store(store: Store) -> None:
    for name in ("a", "b/c"):
        store.write_bytes(f"p/offline/{name}", b"old")
    store.fetch("p/offline")
    store.write_bytes("p/offline/a", b"new")
    store.write_bytes("p/offline/d", b"more")
    store.delete("p/offline/b/c")
    folder = store.fetch("p/offline")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"a": b"new", "d": b"more"}


def test_of_an_artifact_that_lost_a_file_the_rest_is_deleted_and_it_is_made_again(store: Store) -> None:
    store.publish(_artifact(store, "a", "one", files=3), "p/s/k")
    store.fetch("p/s/k")
    store.delete("p/s/k/sub/data1.txt")
    assert not store.exists("p/s/k/sub/data1.txt")
    assert store.exists("p/s/k/sub/data2.txt")
    store.delete("p/s/k")
    assert list(store.list("")) == []
    assert not store.exists("p/s/k/sub/data2.txt")
    assert store.publish(_artifact(store, "a", "again"), "p/s/k")
    assert store.read_bytes("p/s/k/sub/data.txt") == b"again"
    assert [path.name for path in (store.fetch("p/s/k") / "sub").iterdir()] == ["data.txt"]


def test_an_unusable_store_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="UPDRAFT_STORE"):
        open_store(str(tmp_path / "file"))
    with pytest.raises(BadInput, match="UPDRAFT_STORE"):
        open_store("ftp://somewhere/else")
