"""Reading files from a folder or from S3 alike: what ingestion sees of the user's own data, and what stores build on.

Paths are relative, with forward slashes. Nothing here writes, and nothing leads out of the folder: data names its own
files, and a row that names ``../../etc/passwd``, or a link to it, must not be served.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tasks.core.errors import BadInput, UpdraftError


class UnsafePath(ValueError):
    """A path that leads out of its folder, in so many words or by a link, or that can name no file."""


class Changed(UpdraftError):
    """A file was replaced or removed while it was being read."""


@dataclass(frozen=True)
class FileInfo:
    """A file as a listing shows it.

    Attributes:
        path: relative to what was listed.
        size: bytes.
        stamp: changes whenever the content does: modification time and inode, or an ETag.
        modified: seconds since the epoch.
    """

    path: str
    size: int
    stamp: str
    modified: float = 0.0


class Files(Protocol):
    """A read-only view of a folder, here or on S3; every implementation passes the same conformance tests.

    Whatever takes a path raises `UnsafePath` for one that leads outside, and FileNotFoundError where no file is.
    """

    uri: str

    def folders(self, prefix: str = "") -> list[str]:
        """Paths of the folders directly under ``prefix``, sorted."""
        ...

    def list(self, prefix: str = "") -> Iterator[FileInfo]:
        """The files under the folder ``prefix``, sorted by path. Links to folders are not followed; one that leads
        outside is listed itself, for a reader to stumble over rather than to miss."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file at ``path``."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The file's bytes."""
        ...

    def digest(self, path: str) -> tuple[FileInfo, str]:
        """SHA-256 of the file's bytes, and which version of it they were. Of a link that leads nowhere or outside:
        of where it points."""
        ...

    def local(self, path: str) -> Path:
        """A local path of the file, downloaded first where it is remote. Read only."""
        ...


def checked(path: str) -> str:
    """``path`` itself.

    Raises:
        UnsafePath: it is absolute, has a ``..``, or a character that no path has.
    """
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise UnsafePath(f"The path {path!r} leads out of its folder.")
    return path


def walk(root: Path, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything under ``root/prefix`` that is no folder, with its path relative to ``root``, sorted by path."""
    try:
        with os.scandir(root / prefix) as found:
            # As if folders' names ended in the slash that follows them in a path: then all paths come sorted.
            entries = sorted(found, key=lambda entry: entry.name + "/" * entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:  # removed since its parent was read
        return
    for entry in entries:
        path = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from walk(root, path)
        else:
            yield path, entry


def describe(path: str, stat: os.stat_result) -> FileInfo:
    """What a listing shows of the local file at ``path``."""
    return FileInfo(path, stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}", stat.st_mtime)


class LocalFiles:
    """A folder on this machine; it may be read-only.

    Raises:
        BadInput: there is no such folder, or it may not be read.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise BadInput(f"{root} is not a folder.", "Name a folder that exists, or s3://bucket/prefix.")
        if not os.access(root, os.R_OK | os.X_OK):
            raise BadInput(f"The folder {root} may not be read.", "Give this user the right to read it.")
        self.root = root.resolve()
        self.uri = str(self.root)

    def folders(self, prefix: str = "") -> list[str]:
        """See `Files`."""
        folder = self._inside(checked(prefix))
        if not folder.is_dir():
            return []
        with os.scandir(folder) as found:
            names = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
        return sorted(f"{prefix.strip('/')}/{name}".lstrip("/") for name in names)

    def list(self, prefix: str = "") -> Iterator[FileInfo]:
        """See `Files`."""
        folder = checked(prefix).strip("/")
        if not self._inside(folder).is_dir():
            return
        for path, entry in walk(self.root, folder):
            with suppress(FileNotFoundError):
                if not entry.is_symlink():
                    if entry.is_file():
                        yield describe(path, entry.stat())
                elif (target := self._target(path)) is None:
                    yield describe(path, entry.stat(follow_symlinks=False))
                elif target.is_file():
                    yield describe(path, target.stat())

    def exists(self, path: str) -> bool:
        """See `Files`."""
        try:
            self.local(path)
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self, path: str) -> bytes:
        """See `Files`."""
        return self.local(path).read_bytes()

    def digest(self, path: str) -> tuple[FileInfo, str]:
        """See `Files`."""
        link = self.root / checked(path)
        if os.path.islink(link) and self._target(path) is None:
            return describe(path, link.lstat()), hashlib.sha256(os.fsencode(os.readlink(link))).hexdigest()
        local = self.local(path)
        try:
            with local.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return describe(path, os.fstat(file.fileno())), digest
        except FileNotFoundError:
            raise
        except OSError as error:
            # A state, too, for ingestion to tell of the row. As of now: the day that it can be read, no listing shows.
            unread = replace(describe(path, local.stat()), modified=time.time())
            return unread, hashlib.sha256(f"unreadable: {error.errno}".encode()).hexdigest()

    def local(self, path: str) -> Path:
        """See `Files`."""
        found = self._inside(path)
        if not os.path.isfile(found):  # unlike Path.is_file, it does not fail on a name that is too long
            raise FileNotFoundError(f"{path} is no file in {self.uri}")
        return found

    def _inside(self, path: str) -> Path:
        try:
            found = (self.root / checked(path)).resolve()
        except RuntimeError:
            raise FileNotFoundError(f"{path} is a link in a circle, in {self.uri}") from None
        if not found.is_relative_to(self.root):
            raise UnsafePath(f"{path!r} is a link that leads out of {self.uri}.")
        return found

    def _target(self, path: str) -> Path | None:
        """Where the link at ``path`` leads; None if that is outside, or nothing."""
        try:
            found = self._inside(path)
        except (UnsafePath, FileNotFoundError):
            return None
        return found if found.exists() else None
