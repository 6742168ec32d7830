"""Content digests of a source's files, remembered: files that did not change are not read again.

A digest is remembered under the file's path, size and stamp, in SQLite under HOME.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice

from tasks.core.files import FileInfo, Files
from tasks.core.settings import settings

_PARALLEL = 16
_SETTLED = 2.0
"""Seconds. A file modified since then may change again without its time or size telling (Git calls such ones racy)."""
_BATCH = 1000

_TABLE = """CREATE TABLE IF NOT EXISTS digests (uri TEXT, path BLOB, size INTEGER, stamp TEXT, digest TEXT,
    PRIMARY KEY (uri, path)) WITHOUT ROWID"""


def digest_of(files: Files, info: FileInfo) -> str:
    """SHA-256 of one listed file."""
    return digests(files, [info])[info.path]


def digests(files: Files, infos: Iterable[FileInfo]) -> dict[str, str]:
    """SHA-256 of listed files, by path; those not known yet are read several at once.

    Safe in several processes at a time, and after a kill: what was read before it is remembered.

    Raises:
        FileNotFoundError: a file was removed since it was listed.
    """
    found: dict[str, str] = {}
    left = iter(infos)
    with _memory() as memory, ThreadPoolExecutor(_PARALLEL) as pool:
        while batch := list(islice(left, _BATCH)):
            known = {info.path: _recall(memory, files.uri, info) for info in batch}
            unknown = [path for path, digest in known.items() if digest is None]
            started = time.time()
            read = list(pool.map(files.digest, unknown))
            with memory:
                memory.executemany(
                    "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)",
                    [
                        (files.uri, _bytes(info.path), info.size, info.stamp, digest)
                        for info, digest in read
                        if info.modified < started - _SETTLED
                    ],
                )
            found |= {path: digest for path, digest in known.items() if digest}
            found |= {info.path: digest for info, digest in read}
    return found


@contextmanager
def _memory() -> Iterator[sqlite3.Connection]:
    folder = settings().home
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / "digests.db", timeout=60)) as memory:
        memory.execute(_TABLE)
        yield memory


def _recall(memory: sqlite3.Connection, uri: str, info: FileInfo) -> str | None:
    query = "SELECT digest FROM digests WHERE uri = ? AND path = ? AND size = ? AND stamp = ?"
    row = memory.execute(query, (uri, _bytes(info.path), info.size, info.stamp)).fetchone()
    return row[0] if row else None


def _bytes(path: str) -> bytes:
    """A path as the file system has it: it need not be Unicode."""
    return os.fsencode(path)
