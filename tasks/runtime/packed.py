"""A graph's file, or the same compressed: weights that were pruned are zeros, and only then take no room."""

import lzma
from pathlib import Path

_SUFFIX = ".xz"


def pack(path: Path) -> Path:
    """Replaces a file by its compressed self; returns that."""
    packed = path.with_name(path.name + _SUFFIX)
    packed.write_bytes(lzma.compress(path.read_bytes()))
    path.unlink()
    return packed


def stands(path: Path) -> bool:
    """Whether there is such a file, packed or not."""
    return path.is_file() or path.with_name(path.name + _SUFFIX).is_file()


def read(path: Path) -> bytes:
    """What was written to ``path``, packed since or not.

    Raises:
        FileNotFoundError: neither is there.
        lzma.LZMAError: the packed one is damaged.
    """
    packed = path.with_name(path.name + _SUFFIX)
    return lzma.decompress(packed.read_bytes()) if packed.is_file() else path.read_bytes()
