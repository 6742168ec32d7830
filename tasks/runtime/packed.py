"""A graph's file or folder, or the same compressed: weights that were pruned are zeros, and only then take no room."""

import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SUFFIX = ".xz"


def pack(path: Path) -> Path:
    """Replaces a file, or a folder, by its compressed self; returns that."""
    packed = _packed(path)
    if path.is_dir():
        with tarfile.open(packed, "w:xz") as archive:
            archive.add(path, arcname=".")
        shutil.rmtree(path)
    else:
        packed.write_bytes(lzma.compress(path.read_bytes()))
        path.unlink()
    return packed


def stands(path: Path) -> bool:
    """Whether there is such a file or folder, packed or not."""
    return path.exists() or _packed(path).is_file()


def read(path: Path) -> bytes:
    """What was written to the file ``path``, packed since or not.

    Raises:
        FileNotFoundError: neither is there.
        lzma.LZMAError: the packed one is damaged.
    """
    packed = _packed(path)
    return lzma.decompress(packed.read_bytes()) if packed.is_file() else path.read_bytes()


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder ``path``, or a copy that lasts as long as the context if it was packed since.

    Raises:
        EOFError, lzma.LZMAError, tarfile.TarError: the packed one is damaged.
    """
    if not _packed(path).is_file():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(_packed(path)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def _packed(path: Path) -> Path:
    return path.with_name(path.name + _SUFFIX)
