"""Local copies of remote files: each version is downloaded once, aside, and linked into its place.

``objects/<path>/<version>`` is what was downloaded; ``files/<path>`` is a hard link to it, under the name that a reader
expects. A file is up to date if and only if the two are the same inode, so there is no index that could lie.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path

from tasks.core.artifacts import digest_json
from tasks.core.files import Changed, FileInfo, checked, walk

Listing = Mapping[str, FileInfo]
"""The remote file that holds the bytes of each local path."""


_ATTEMPTS = 20


class Cache:
    """A folder of local copies.

    Args:
        folder: where they stand; processes may share it.
        download: makes each of the local files from its remote one.
    """

    def __init__(self, folder: Path, download: Callable[[Mapping[Path, FileInfo]], None]) -> None:
        self._folder = folder
        self._download = download

    def sync(self, path: str, look: Callable[[], Listing]) -> Path:
        """Makes the local copy of the file or folder at ``path`` what ``look`` finds, and gives where it stands.

        Readers of the copy see whole files all the time. ``look`` is called by one process at a time, so that none
        puts back what a later look has replaced.

        Raises:
            FileNotFoundError: nothing was found.
            Changed: the remote files are replaced faster than they can be downloaded.
        """
        place = self._folder / "files" / checked(path)
        with self._alone(path) as aside:
            found = self._refresh(aside, look)
            if not found:
                raise FileNotFoundError(f"{path} is not there")
            if place.is_dir():
                self._drop({name for name, _ in walk(self._folder / "files", path)} - found)
        return place

    def _refresh(self, aside: Path, look: Callable[[], Listing]) -> Set[str]:
        attempt = 0
        while True:
            attempt += 1
            found = {checked(name): info for name, info in look().items()}
            stale = [name for name, info in found.items() if not self._is_current(name, info)]
            parts = {aside / f"{attempt}-{number}": name for number, name in enumerate(stale)}
            try:
                self._download({part: found[name] for part, name in parts.items()})
            except Changed:
                if attempt == _ATTEMPTS:
                    raise
                continue
            for part, name in parts.items():
                self._install(part, name, found[name])
            return found.keys()

    def _object(self, name: str, info: FileInfo) -> Path:
        return self._folder / "objects" / name / digest_json([info.path, info.size, info.stamp])[:32]

    def _is_current(self, name: str, info: FileInfo) -> bool:
        try:
            return os.path.samefile(self._folder / "files" / name, self._object(name, info))
        except OSError:
            return False

    def _install(self, part: Path, name: str, info: FileInfo) -> None:
        version, file = self._object(name, info), self._folder / "files" / name
        for folder in (version.parent, file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        for earlier in version.parent.iterdir():
            if earlier.is_file():
                earlier.unlink(missing_ok=True)
        link = part.with_suffix(".link")
        os.link(part, link)
        os.replace(part, version)
        os.replace(link, file)

    def _drop(self, names: set[str]) -> None:
        for name in names:
            (self._folder / "files" / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder / "objects" / name, ignore_errors=True)

    @contextmanager
    def _alone(self, path: str) -> Iterator[Path]:
        """An empty folder to work in, for one process or thread at a time; the kernel frees a killed one's lock."""
        name = digest_json(path)[:32]
        locks, aside = self._folder / "locks", self._folder / "partial" / name
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            try:
                yield aside
            finally:
                shutil.rmtree(aside, ignore_errors=True)
