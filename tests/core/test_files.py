"""The conformance suite of sources: a folder and a bucket with the same files look the same."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.core.files import FileInfo, Files, UnsafePath
from tasks.core.store import open_files
from tests.servers.s3 import S3Server

CONTENT = {
    "date=2026-01-01/images/a.png": b"a",
    "date=2026-01-01/labels.csv": b"id,image",
    "date=2026-01-01-late/x": b"",
    "date=2026-01-02/日本 #1%20.png": b"\0" * 1000,
    "e\u0301.txt": b"composed of two",
    "é.txt": b"one",
}


class Source:
    """Files that a test opens and changes."""

    def __init__(self, uri: str, write: Callable[[str, bytes], None]) -> None:
        self.write = write
        for path, data in CONTENT.items():
            write(path, data)
        self.files: Files = open_files(uri)


@pytest.fixture(params=["local", "s3"])
def source(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Source:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        bucket = server.bucket()
        server.client.put_object(Bucket=bucket, Key="data/date=2026-01-03/", Body=b"")
        server.client.put_object(Bucket=bucket, Key="data-of-others/x", Body=b"private")

        def put(path: str, data: bytes) -> None:
            server.client.put_object(Bucket=bucket, Key=f"data/{path}", Body=data)

        return Source(f"s3://{bucket}/data/", put)

    def write(path: str, data: bytes) -> None:
        file = tmp_path / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    (tmp_path / "private").write_text("private")
    return Source(str(tmp_path / "data"), write)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_text("a")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return folder


def test_all_files_are_listed_in_order_with_size_and_time(source: Source) -> None:
    found = list(source.files.list())
    assert [info.path for info in found] == sorted(CONTENT)
    assert [info.size for info in found] == [len(CONTENT[path]) for path in sorted(CONTENT)]
    assert all(info.stamp and info.modified > 0 for info in found)
    assert [info.path for info in source.files.list("date=2026-01-01")] == sorted(CONTENT)[1:3]
    assert list(source.files.list("date=2026-01-01/")) == list(source.files.list("date=2026-01-01"))
    assert list(source.files.list("date=2026")) == list(source.files.list("nothing")) == []


def test_folders_are_one_level(source: Source) -> None:
    assert [path for path in source.files.folders() if path != "date=2026-01-03"] == [
        "date=2026-01-01",
        "date=2026-01-01-late",
        "date=2026-01-02",
    ]
    assert list(source.files.folders("date=2026-01-01")) == ["date=2026-01-01/images"]
    assert list(source.files.folders("date=2026-01-01/images/")) == list(source.files.folders("nothing")) == []


def test_files_are_read_digested_and_made_local(source: Source) -> None:
    listed = {info.path: info for info in source.files.list()}
    for path, data in CONTENT.items():
        assert source.files.exists(path)
        assert source.files.read_bytes(path) == source.files.local(path).read_bytes() == data
        info, digest = source.files.digest(path)
        assert (info.path, info.size, info.stamp) == (path, len(data), listed[path].stamp)
        assert digest == hashlib.sha256(data).hexdigest()


def test_a_replaced_file_is_seen(source: Source) -> None:
    path = "date=2026-01-01/images/a.png"
    before = _info(source.files, path)
    assert source.files.local(path).read_bytes() == b"a"
    source.write(path, b"b")
    assert _info(source.files, path).stamp != before.stamp
    assert source.files.local(path).read_bytes() == b"b"


def test_a_path_that_leads_outside_is_refused(source: Source) -> None:
    calls: list[Callable[[str], object]] = [source.files.exists, source.files.read_bytes, source.files.local]
    for call in [*calls, lambda path: list(source.files.list(path)), source.files.folders]:
        for path in ("../private", "date=2026-01-01/../../private", "/etc/passwd", "a\0b", ".."):
            with pytest.raises(UnsafePath):
                call(path)


def test_what_is_no_file_is_not_found(source: Source) -> None:
    for path in ("missing", "date=2026-01-01", "e\u0301.txt/x", "x" * 3000, "", "date=2026-01-03"):
        assert not source.files.exists(path)
        for call in (source.files.read_bytes, source.files.local, source.files.digest):
            with pytest.raises(FileNotFoundError):
                call(path)


def test_a_link_that_leads_outside_is_listed_and_never_followed(folder: Path) -> None:
    (folder / "file").symlink_to(folder.parent / "outside" / "secret")
    (folder / "folder").symlink_to(folder.parent / "outside")
    (folder / "gone").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder / "loop")
    files = open_files(str(folder))
    assert [info.path for info in files.list()] == ["file", "folder", "gone", "loop", "sub/a"]
    assert files.folders() == ["sub"]
    for path in ("file", "folder", "folder/secret"):
        with pytest.raises(UnsafePath):
            files.read_bytes(path)
    for path in ("gone", "loop"):
        assert not files.exists(path)
        with pytest.raises(FileNotFoundError):
            files.read_bytes(path)
    secret = hashlib.sha256(b"secret").hexdigest()
    assert secret not in {files.digest(info.path)[1] for info in files.list()}


def test_a_link_within_the_folder_is_a_file_and_linked_folders_are_not_walked_twice(folder: Path) -> None:
    (folder / "b").symlink_to(folder / "sub" / "a")
    (folder / "again").symlink_to(folder / "sub")
    files = open_files(str(folder))
    assert [info.path for info in files.list()] == ["b", "sub/a"]
    assert files.read_bytes("b") == files.read_bytes("again/a") == b"a"


def test_pipes_are_no_files(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    files = open_files(str(folder))
    assert [info.path for info in files.list()] == ["sub/a"]
    with pytest.raises(FileNotFoundError):
        files.read_bytes("pipe")


def test_names_need_not_be_unicode(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (folder / name).write_text("latin")
    files = open_files(str(folder))
    assert [info.path for info in files.list()] == sorted([name, "sub/a"])
    assert files.read_bytes(name) == b"latin"


def test_a_source_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for uri in (tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(BadInput, match=uri.name):
            open_files(str(uri))
    with pytest.raises(BadInput, match="ftp://"):
        open_files("ftp://host/path")


def _info(files: Files, path: str) -> FileInfo:
    return next(info for info in files.list() if info.path == path)
