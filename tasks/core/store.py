"""The artifact store: folders that appear whole or not at all.

One interface for a local folder (here) and for S3 (`tasks.core.s3`). Paths are relative, with forward slashes.
`open_files` gives the read-only view of somebody else's folder.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tasks.core.artifacts import MANIFEST
from tasks.core.errors import BadInput
from tasks.core.files import FileInfo, Files, LocalFiles, describe, walk
from tasks.core.settings import settings

__all__ = ["FileInfo", "Files", "LocalStore", "Store", "open_files", "open_store"]


class Store(Protocol):
    """What a store can do; every implementation passes the same conformance tests."""

    uri: str

    def exists(self, path: str) -> bool:
        """Whether a file has been published at ``path``."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The file's bytes.

        Raises:
            FileNotFoundError: nothing is published there.
        """
        ...

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``, fewer where the file ends; nothing else is transferred.

        Raises:
            FileNotFoundError: nothing is published there.
        """
        ...

    def write_bytes(self, path: str, data: bytes) -> None:
        """Creates or replaces one file; a reader sees the old bytes or the new ones, never a part."""
        ...

    def put_new(self, path: str, data: bytes) -> bool:
        """Creates one file, of several writers by one alone.

        Returns:
            False when a file was there: it stays as it is.
        """
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Paths of the files under the folder ``prefix``, sorted."""
        ...

    def infos(self, prefix: str) -> Iterator[FileInfo]:
        """The same files with size, stamp and time."""
        ...

    def fetch(self, path: str) -> Path:
        """A local path of the file or folder, downloaded first where the store is remote. Read only.

        Raises:
            FileNotFoundError: nothing is published there.
        """
        ...

    def scratch(self, name: str) -> Path:
        """An empty local folder to prepare an artifact in; ``publish`` moves it into place."""
        ...

    def publish(self, folder: Path, path: str) -> bool:
        """Makes the prepared ``folder``, which has a manifest, visible at ``path`` in one step.

        What a killed attempt left is invisible and in nobody's way; an attempt with equal files goes on from it.

        Returns:
            False when an artifact was there already: that one stays and ``folder`` is dropped.
        """
        ...

    def delete(self, prefix: str) -> None:
        """Removes a file or folder, if it is there; an artifact is invisible from the first moment."""
        ...


class LocalStore:
    """A folder on this machine, or on a file system that all workers share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)
        try:
            self._aside.mkdir(parents=True, exist_ok=True)
            probe = self._aside / f"probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            fix = "Make the folder writable, or name another one with UPDRAFT_STORE."
            raise BadInput(f"The store {root} cannot be written: {error.strerror}.", fix) from None

    @property
    def _aside(self) -> Path:
        return self.root / ".partial"

    def exists(self, path: str) -> bool:
        """See `Store`."""
        return (self.root / path).is_file()

    def read_bytes(self, path: str) -> bytes:
        """See `Store`."""
        return (self.root / path).read_bytes()

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """See `Store`."""
        with (self.root / path).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def write_bytes(self, path: str, data: bytes) -> None:
        """See `Store`."""
        os.replace(self._write_aside(data), self._place(path))

    def put_new(self, path: str, data: bytes) -> bool:
        """See `Store`. A link is made only where nothing is."""
        if self.exists(path):
            return False
        aside = self._write_aside(data)
        try:
            os.link(aside, self._place(path))
        except FileExistsError:
            return False
        finally:
            aside.unlink()
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store`."""
        return (info.path for info in self.infos(prefix))

    def infos(self, prefix: str) -> Iterator[FileInfo]:
        """See `Store`."""
        if not (self.root / prefix).is_dir():
            return
        for path, entry in walk(self.root, prefix.strip("/")):
            with suppress(FileNotFoundError):
                if entry.is_file() and not path.startswith(f"{self._aside.name}/"):
                    yield describe(path, entry.stat())

    def fetch(self, path: str) -> Path:
        """See `Store`."""
        local = self.root / path
        if not local.exists():
            raise FileNotFoundError(f"{path} is not in the store {self.uri}")
        return local

    def scratch(self, name: str) -> Path:
        """See `Store`. What an earlier, killed attempt of the same name left is removed."""
        folder = self._aside / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def publish(self, folder: Path, path: str) -> bool:
        """See `Store`. One rename; POSIX lets it replace only an empty folder."""
        target = self._place(path)
        try:
            os.rename(folder, target)
        except OSError:
            if not (target / MANIFEST).is_file():
                raise
            shutil.rmtree(folder)
            return False
        return True

    def delete(self, prefix: str) -> None:
        """See `Store`."""
        target = self.root / prefix
        if target.is_dir():
            aside = self._aside / uuid.uuid4().hex
            os.rename(target, aside)
            shutil.rmtree(aside)
        else:
            target.unlink(missing_ok=True)

    def _write_aside(self, data: bytes) -> Path:
        aside = self._aside / uuid.uuid4().hex
        aside.write_bytes(data)
        return aside

    def _place(self, path: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def open_store(uri: str) -> Store:
    """The store at ``uri``: a folder or ``s3://bucket/prefix``.

    Raises:
        BadInput: the address is not supported, the folder cannot be written, or S3 does not let us in.
        UpdraftError: S3 does not answer.
    """
    if uri.startswith("s3://"):
        from tasks.core.s3 import S3Store, connect  # a run on local folders never pays for boto3

        return S3Store(connect(uri), settings().home)
    if "://" in uri:
        raise BadInput(f"UPDRAFT_STORE={uri}: no such kind of store.", "Give a folder or s3://bucket/prefix.")
    return LocalStore(Path(uri).expanduser().resolve())


def open_files(uri: str) -> Files:
    """The files under ``uri``, a folder or ``s3://bucket/prefix``, to read only.

    Raises:
        BadInput: the address is not supported, there is no such folder, or it may not be read.
        UpdraftError: S3 does not answer.
    """
    if uri.startswith("s3://"):
        from tasks.core.s3 import S3Files, connect

        return S3Files(connect(uri), settings().home)
    if "://" in uri:
        raise BadInput(f"{uri}: no such kind of source.", "Give a folder or s3://bucket/prefix.")
    return LocalFiles(Path(uri).expanduser())
