"""The artifact store: folders that appear whole or not at all.

One interface for a local folder (here) and for S3 (paths are keys, `fetch` downloads, the manifest is a conditional
put). Paths are relative, with forward slashes.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tasks.core.artifacts import MANIFEST
from tasks.core.errors import BadInput


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

    def write_bytes(self, path: str, data: bytes) -> None:
        """Creates or replaces one file; a reader sees the old bytes or the new ones, never a part."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Paths of the files under the folder ``prefix``, sorted."""
        ...

    def fetch(self, path: str) -> Path:
        """A local path of the file or folder, downloaded first where the store is remote. Read only."""
        ...

    def scratch(self, name: str) -> Path:
        """An empty local folder to prepare an artifact in; ``publish`` moves it into place."""
        ...

    def publish(self, folder: Path, path: str) -> bool:
        """Makes the prepared ``folder`` visible at ``path`` in one step, its manifest last.

        Returns:
            False when an artifact was there already: that one stays and ``folder`` is dropped.
        """
        ...

    def delete(self, prefix: str) -> None:
        """Removes a file or folder, if it is there."""
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

    def write_bytes(self, path: str, data: bytes) -> None:
        """See `Store`."""
        aside = self._aside / uuid.uuid4().hex
        aside.write_bytes(data)
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, target)

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store`."""
        files = (path for path in (self.root / prefix).rglob("*") if path.is_file())
        yield from sorted(path.relative_to(self.root).as_posix() for path in files)

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
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
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
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def open_store(uri: str) -> Store:
    """The store at ``uri``.

    Raises:
        BadInput: the address is not supported, or the folder cannot be written.
    """
    if "://" in uri:
        raise BadInput(f"UPDRAFT_STORE={uri}: only a folder is supported as yet.", "Give a folder.")
    return LocalStore(Path(uri).expanduser().resolve())
