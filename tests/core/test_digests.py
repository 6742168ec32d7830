"""Digests of source files: right, and remembered."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.core.digests import digest_of, digests
from tasks.core.files import FileInfo, LocalFiles
from tasks.core.settings import ROOT
from tasks.core.store import open_files
from tests.servers.s3 import S3Server


class Counted(LocalFiles):
    """Notes what is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []

    def digest(self, path: str) -> tuple[FileInfo, str]:
        self.read.append(path)
        return super().digest(path)


@pytest.fixture
def files(home: Path, tmp_path: Path) -> Counted:
    (tmp_path / "data").mkdir()
    files = Counted(tmp_path / "data")
    for number in range(30):
        _write(files, f"{number}", str(number))
    return files


def _write(files: LocalFiles, name: str, text: str, age: float = 60) -> None:
    (files.root / name).write_text(text)
    os.utime(files.root / name, (time.time() - age,) * 2)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_unchanged_files_are_read_once(files: Counted) -> None:
    expected = {str(number): _sha(str(number)) for number in range(30)}
    assert digests(files, files.list()) == expected
    assert sorted(files.read) == sorted(expected)
    assert digests(files, files.list()) == expected
    assert digest_of(files, next(files.list())) == _sha("0")
    assert len(files.read) == 30


def test_a_changed_file_is_read_again_even_if_its_size_is_the_same(files: Counted) -> None:
    digests(files, files.list())
    files.read.clear()
    _write(files, "7", "8", age=30)
    assert digests(files, files.list())["7"] == _sha("8")
    assert files.read == ["7"]


def test_a_file_just_modified_is_not_trusted(files: Counted) -> None:
    _write(files, "7", "x", age=0)
    before = (files.root / "7").stat()
    assert digests(files, files.list())["7"] == _sha("x")
    (files.root / "7").write_text("y")  # within the same tick of the clock
    os.utime(files.root / "7", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests(files, files.list())["7"] == _sha("y")


def test_a_file_replaced_between_listing_and_reading_is_not_taken_for_the_listed_one(files: Counted) -> None:
    listed = list(files.list())
    old = (files.root / "7").stat()
    _write(files, "7", "x", age=30)
    assert digests(files, listed)["7"] == _sha("x")
    (files.root / "7").write_text("7")
    os.utime(files.root / "7", ns=(old.st_atime_ns, old.st_mtime_ns))
    assert digests(files, files.list())["7"] == _sha("7")


def test_links_that_lead_outside_and_odd_names_have_digests(files: Counted) -> None:
    (files.root.parent / "secret").write_text("secret")
    (files.root / "link").symlink_to(files.root.parent / "secret")
    _write(files, os.fsdecode(b"caf\xe9"), "latin")
    found = digests(files, files.list())
    assert found[os.fsdecode(b"caf\xe9")] == _sha("latin")
    assert found["link"] != _sha("secret")


def test_a_file_removed_since_it_was_listed_is_named(files: Counted) -> None:
    listed = list(files.list())
    (files.root / "7").unlink()
    with pytest.raises(FileNotFoundError, match="7"):
        digests(files, listed)


def test_processes_at_once_agree(files: Counted) -> None:
    program = (
        "import sys; from tasks.core.store import open_files; from tasks.core.digests import digests;"
        "files = open_files(sys.argv[1]); print(sorted(digests(files, files.list()).items()))"
    )
    command = [sys.executable, "-c", program, files.uri]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate()[0] for process in running]
    assert answers == [f"{sorted(digests(files, files.list()).items())}\n"] * 4
    assert files.read == []


def test_objects_are_known_by_their_etag(s3: S3Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.bucket()
    for name in ("a", "b"):
        s3.client.put_object(Bucket=bucket, Key=f"data/{name}", Body=name.encode())
    monkeypatch.setattr("tasks.core.digests._SETTLED", 0)
    time.sleep(1.1)  # S3's clock shows whole seconds
    files = open_files(f"s3://{bucket}/data")
    assert digests(files, files.list()) == {"a": _sha("a"), "b": _sha("b")}
    s3.client.put_object(Bucket=bucket, Key="data/b", Body=b"c")
    before = len(s3.requests())
    assert digests(files, files.list()) == {"a": _sha("a"), "b": _sha("c")}
    assert [line for line in s3.requests()[before:] if "/data/" in line] == [f"GET /{bucket}/data/b"]


def test_a_file_that_cannot_be_read_has_a_state_that_is_not_remembered(
    files: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (info,) = (info for info in files.list() if info.path == "7")
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", refused)
        assert digest_of(files, info) != _sha("7")
    assert digest_of(files, info) == _sha("7")
