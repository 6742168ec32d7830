"""The artifact store and the user's sources on S3.

An artifact on S3 is one object: its manifest, put last and only if none is there. The manifest's metadata names the
folder that holds the artifact's files, and that folder is named after their bytes::

    <artifact>/manifest.json              put if absent; metadata files=<digest>
    <artifact>/.files/<digest>/<name>     the files of the publisher that won

So two publishers at once never mix their files, what a killed one left is invisible, and one that comes again with the
same files goes on where it stopped. Other files (the raw archive, quarantine) stand at their paths.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tasks.core.artifacts import MANIFEST, digest_bytes, digest_file, digest_json
from tasks.core.bucket import Bucket
from tasks.core.cache import Cache
from tasks.core.files import FileInfo, checked
from tasks.core.settings import settings

_FILES = ".files"


def connect(uri: str) -> Bucket:
    """The bucket at ``uri``, asked once whether it lets us in.

    Raises:
        BadInput: there is no such bucket, or S3 does not let us in.
        UpdraftError: S3 does not answer.
    """
    bucket = Bucket(uri, settings().s3_endpoint_url)
    bucket.check()
    return bucket


def _cache(bucket: Bucket, home: Path) -> Cache:
    return Cache(home / "cache" / digest_bytes(bucket.uri.encode())[:16], bucket.download)


class S3Files:
    """A source in a bucket; see `Files`."""

    def __init__(self, bucket: Bucket, home: Path) -> None:
        self.uri = bucket.uri
        self._bucket = bucket
        self._cache = _cache(bucket, home)

    def folders(self, prefix: str = "") -> list[str]:
        """See `Files`."""
        return self._bucket.folders(checked(prefix))

    def list(self, prefix: str = "") -> Iterator[FileInfo]:
        """See `Files`."""
        return self._bucket.list(checked(prefix))

    def exists(self, path: str) -> bool:
        """See `Files`."""
        return _info(self._bucket, checked(path)) is not None

    def read_bytes(self, path: str) -> bytes:
        """See `Files`."""
        return self._bucket.read(checked(path))

    def digest(self, path: str) -> tuple[FileInfo, str]:
        """See `Files`."""
        info, pieces = self._bucket.stream(path)
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        return info, digest.hexdigest()

    def local(self, path: str) -> Path:
        """See `Files`."""
        return self._cache.sync(path, lambda: {path: self._bucket.head(path)[0]})


class S3Store:
    """A prefix of a bucket that all workers share; see `Store`.

    Args:
        home: folder of this machine, for artifacts in preparation and local copies.
    """

    def __init__(self, bucket: Bucket, home: Path) -> None:
        self.uri = bucket.uri
        self._bucket = bucket
        self._cache = _cache(bucket, home)
        self._scratch = home / "scratch" / digest_bytes(bucket.uri.encode())[:16]
        self._known: dict[str, str] = {}

    def exists(self, path: str) -> bool:
        """See `Store`."""
        return any(_info(self._bucket, place) for place in self._places(path))

    def read_bytes(self, path: str) -> bytes:
        """See `Store`."""
        return self._read(path, 0, None)

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """See `Store`."""
        return self._read(path, start, length)

    def write_bytes(self, path: str, data: bytes) -> None:
        """See `Store`."""
        self._bucket.put(path, data)

    def put_new(self, path: str, data: bytes) -> bool:
        """See `Store`."""
        return self._bucket.put_new(path, data)

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store`."""
        return (info.path for info in self.infos(prefix))

    def infos(self, prefix: str) -> Iterator[FileInfo]:
        """See `Store`."""
        for path, info in sorted(self._objects(prefix.strip("/")).items()):
            yield replace(info, path=path)

    def fetch(self, path: str) -> Path:
        """See `Store`. What stands on this machine already is not downloaded again."""
        return self._cache.sync(path, lambda: self._objects(path) or self._object(path))

    def scratch(self, name: str) -> Path:
        """See `Store`."""
        folder = self._scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def publish(self, folder: Path, path: str) -> bool:
        """See `Store`."""
        won = self._pointer(path) is None and self._publish(folder, path)
        shutil.rmtree(folder)
        return won

    def delete(self, prefix: str) -> None:
        """See `Store`."""
        objects = self._objects(prefix) or self._object(prefix)
        # With what publishers that lost, or were killed, have left there.
        paths = {info.path for info in [*self._bucket.list(prefix), *objects.values()]}
        manifests = {path for path in paths if PurePosixPath(path).name == MANIFEST}
        self._bucket.delete(sorted(manifests))
        self._bucket.delete(sorted(paths - manifests))

    def _publish(self, folder: Path, path: str) -> bool:
        names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
        names.remove(MANIFEST)
        digest = digest_json({name: digest_file(folder / name) for name in names})[:32]
        place = f"{path}/{_FILES}/{digest}"
        there = {info.path: info.size for info in self._bucket.list(place)}
        files = {f"{place}/{name}": folder / name for name in names}
        self._bucket.upload({to: file for to, file in files.items() if there.get(to) != file.stat().st_size})
        won = self._bucket.put_new(f"{path}/{MANIFEST}", (folder / MANIFEST).read_bytes(), {"files": digest})
        if not won and self._pointer(path) != digest:
            self._bucket.delete(files)
        return won

    def _read(self, path: str, start: int, length: int | None) -> bytes:
        for place in self._places(path):
            try:
                return self._bucket.read(place, start, length)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"{path} is not in the store {self.uri}")

    def _places(self, path: str) -> Iterator[str]:
        """Where the bytes of ``path`` may stand, the likeliest first: an artifact may have been made again since."""
        above = _above(path)
        for folder in above:
            if folder in self._known:
                yield _place(folder, self._known[folder], path)
        yield path
        if PurePosixPath(path).name != MANIFEST:
            for folder in above:
                if digest := self._pointer(folder):
                    yield _place(folder, digest, path)

    def _object(self, path: str) -> dict[str, FileInfo]:
        """The object of one file, if it is there."""
        found = (_info(self._bucket, place) for place in self._places(path))
        return next(({path: info} for info in found if info), {})

    def _objects(self, prefix: str) -> dict[str, FileInfo]:
        """The object of every file under ``prefix``, by the file's path; those of publishers that lost are no files."""
        found: dict[str, FileInfo] = {}
        current: dict[str, str | None] = {}
        for info in self._bucket.list(prefix):
            folder, inside, rest = info.path.partition(f"/{_FILES}/")
            digest, _, name = rest.partition("/")
            if inside and folder not in current:
                current[folder] = self._pointer(folder)
            if not inside or digest == current[folder]:
                found[f"{folder}/{name}" if inside else info.path] = info
        for folder in () if found else _above(prefix):
            if pointer := self._pointer(folder):
                place = _place(folder, pointer, prefix)
                return {prefix + info.path.removeprefix(place): info for info in self._bucket.list(place)}
        return found

    def _pointer(self, folder: str) -> str | None:
        """Digest of the files of the artifact at ``folder``; None if no artifact stands there."""
        self._known.pop(folder, None)
        try:
            metadata: Mapping[str, str] = self._bucket.head(f"{folder}/{MANIFEST}")[1]
        except FileNotFoundError:
            return None
        if "files" not in metadata:
            return None
        self._known[folder] = metadata["files"]
        return metadata["files"]


def _info(bucket: Bucket, path: str) -> FileInfo | None:
    try:
        return bucket.head(path)[0]
    except FileNotFoundError:
        return None


def _above(path: str) -> list[str]:
    """The folders that ``path`` is in, the nearest first."""
    return [str(folder) for folder in PurePosixPath(path).parents][:-1]


def _place(folder: str, digest: str, path: str) -> str:
    return f"{folder}/{_FILES}/{digest}/{path.removeprefix(folder + '/')}"
