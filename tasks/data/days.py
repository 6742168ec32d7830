"""A source without date folders, divided by the day of its events: read once for all of its partitions.

A day's rows are one file of JSON lines under HOME, kept for as long as the source does not change. A row whose time is
missing or cannot be read is taken in with the project's first day, where ingestion says what is wrong with it.
"""

import json
import logging
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.artifacts import digest_file, digest_json
from tasks.core.code import code_version
from tasks.core.digests import digests
from tasks.core.errors import StageFailed
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.store import FileInfo, Files

if TYPE_CHECKING:
    from tasks.data.readers import Row

log = logging.getLogger("updraft")

_INDEX = "days.json"
_BATCH = 20_000
_KEPT = 2
"""States of a source whose division is kept: a process may still read the one before the newest."""


@dataclass(frozen=True)
class Days:
    """The division of a source.

    Attributes:
        folder: where the pieces are.
        pieces: the project's dates (``2026-01-31``) that have rows, to the SHA-256 of those rows' file.
    """

    folder: Path
    pieces: Mapping[str, str]

    def piece(self, day: date) -> Path:
        """The file with the day's rows."""
        return self.folder / f"{day}.jsonl"

    def names(self, day: date, column: str) -> Iterator[str]:
        """The texts in a column of the day's rows."""
        with self.piece(day).open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get(column), str):
                    yield row[column]


def divide(spec: Project, files: Files, tables: Sequence[FileInfo]) -> Days:
    """The rows of ``tables`` by day: as divided before if they are the same, else read through once.

    Raises:
        BadInput: a file cannot be read.
        StageFailed: a file changed while it was read.
    """
    before = digests(files, tables)
    rule = [code_version(__name__), files.uri, spec.source.event_time, str(spec.start), str(spec.end)]
    home = settings().home / "sources" / spec.name
    folder = home / digest_json([rule, before])[:32]
    if not (folder / _INDEX).is_file():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=home) as aside:
            _divide(spec, files, tables, Path(aside, "whole"))
            names = {info.path for info in tables}
            if digests(files, [info for info in files.list("") if info.path in names]) != before:
                raise StageFailed(f"{spec.name}: {files.uri} changed while it was read.", "Run it again.")
            _publish(Path(aside, "whole"), folder)
        _forget_old(home)
    return Days(folder, json.loads((folder / _INDEX).read_text(encoding="utf-8")))


def _divide(spec: Project, files: Files, tables: Sequence[FileInfo], folder: Path) -> None:
    # Here, because a source that is divided already needs no Arrow.
    from tasks.data.readers import batched, read_rows

    folder.mkdir()
    found, outside = set(), 0
    for info in tables:
        for rows in batched(read_rows(files.local(info.path), f"{files.uri}/{info.path}"), _BATCH):
            lines = defaultdict(list)
            for row, day in zip(rows, _days_of(spec, rows), strict=True):
                lines[day].append(row.line + b"\n")
            for day, part in lines.items():
                if spec.start <= day <= (spec.end or day):
                    found.add(day)
                    with (folder / f"{day}.jsonl").open("ab") as file:
                        file.writelines(part)
                else:
                    outside += len(part)
    if outside:
        log.info("%s: %d rows before start or after end are not the project's", spec.name, outside)
    pieces = {str(day): digest_file(folder / f"{day}.jsonl") for day in sorted(found)}
    (folder / _INDEX).write_text(json.dumps(pieces), encoding="utf-8")


def _days_of(spec: Project, rows: Sequence["Row"]) -> list[date]:
    """The day of each row's event in UTC; the project's first day where it is unknown."""
    from tasks.data.frame import packed
    from tasks.runtime.rows import parse

    assert spec.source.event_time is not None
    times, _ = parse(packed([row.values and row.values.get(spec.source.event_time) for row in rows]), "time")
    return [spec.start if time is None else time.date() for time in times.to_pylist()]


def _publish(whole: Path, folder: Path) -> None:
    try:
        os.rename(whole, folder)
    except OSError:
        # Another process was faster, and has the same.
        if not (folder / _INDEX).is_file():
            raise


def _forget_old(home: Path) -> None:
    # Another process may forget the same ones meanwhile.
    with suppress(FileNotFoundError):
        for folder in sorted(home.glob("[!.]*"), key=lambda folder: folder.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)
