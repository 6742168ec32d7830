"""A source: its partitions, the files that a partition is made of, and whether they are still the same.

Asked before every look into the cache, so it is light: only a source that is divided by event time has to be read.
"""

import posixpath
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from tasks.core.artifacts import digest_json
from tasks.core.digests import digests
from tasks.core.errors import BadInput, StageFailed
from tasks.core.spec import Project
from tasks.core.stages import Context
from tasks.core.store import FileInfo, Files, open_files
from tasks.data.days import Days, divide

TABLES = (".csv", ".jsonl", ".parquet")
"""What the names of files of rows end in."""


@dataclass(frozen=True)
class Partition:
    """One date of a source.

    Attributes:
        folder: its folder in the source, with a slash at the end; empty: the source itself.
    """

    spec: Project
    day: date
    files: Files
    folder: str

    @cached_property
    def listed(self) -> tuple[FileInfo, ...]:
        """All files in its folder, by path in the source, sorted."""
        return tuple(self.files.list(self.folder))

    @property
    def infos(self) -> tuple[FileInfo, ...]:
        """Those of them that programs did not leave behind."""
        return tuple(info for info in self.listed if not is_hidden(info.path[len(self.folder) :]))

    @property
    def where(self) -> str:
        """Its address, for people."""
        return f"{self.files.uri}/{self.folder}".rstrip("/")

    @property
    def tables(self) -> tuple[FileInfo, ...]:
        """The files that hold rows: those of a table, or the labels file of images; in the order of their names.

        Raises:
            BadInput: there is none.
        """
        source = self.spec.source
        field, pattern = ("labels", source.labels) if source.has_images else ("files", source.files)
        found = tuple(info for info in self.infos if self._matches(info.path, pattern))
        if not found:
            there = ", ".join(info.path[len(self.folder) :] for info in self.infos[:5]) or "no files"
            fix = f"Put it there, or set source.{field} to what is there: {there}."
            raise BadInput(f"{self.spec.name}: {self.where} holds no file {pattern!r}.", fix)
        return found

    @property
    def used(self) -> tuple[FileInfo, ...]:
        """The files that can make a difference: a labels file may name any, even one that programs hide."""
        match self.spec.source.format:
            case "table":
                return self.tables
            case "images":
                return self.listed
            case _:
                return self.infos

    def days(self) -> Days:
        """The source's rows by the day of their events."""
        return divide(self.spec, self.files, self.tables)

    def _matches(self, path: str, pattern: str) -> bool:
        name = path[len(self.folder) :]
        if self.spec.source.has_images:
            return name == pattern
        return name.lower().endswith(TABLES) and name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def is_hidden(path: str) -> bool:
    """Whether it is a file that programs leave behind: ``.DS_Store``, ``_SUCCESS``, ``__MACOSX/``."""
    return any(part.startswith((".", "__MACOSX", "_SUCCESS")) for part in path.split("/"))


def path_in_source(folder: str, name: str) -> str:
    """The path in the source of a file that a row in ``folder`` names.

    Raises:
        ValueError: the name leads out of the source, or would if it could.
    """
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"{name!r} leads out of the source")
    return posixpath.normpath(folder + name)


def partitions(spec: Project) -> list[str]:
    """The dates that the source holds within the spec's ``start`` and ``end``, sorted.

    Raises:
        BadInput: the source does not exist, or cannot be read.
    """
    files = open_source(spec)
    if spec.source.partitions == "single":
        return [str(spec.start)]
    if spec.source.partitions == "event_time":
        return sorted(Partition(spec, spec.start, files, "").days().pieces)
    found = (_date_of(name.removeprefix("date=")) for name in files.folders("") if name.startswith("date="))
    return [str(day) for day in sorted(filter(None, found)) if spec.start <= day <= (spec.end or day)]


def open_source(spec: Project) -> Files:
    """The source's files.

    Raises:
        BadInput: it does not exist.
    """
    try:
        return open_files(spec.source.location)
    except BadInput as error:
        fix = error.fix + (f" Or land the sample: updraft run {spec.name}." if spec.source.sample else "")
        raise BadInput(f"{spec.name}: source.uri: {error.message}", fix) from None


def open_partition(spec: Project, partition: str | None) -> Partition:
    """One date of the source.

    Raises:
        BadInput: ``partition`` is not a date, or the source does not exist or holds nothing of that date.
    """
    day = _date_of(partition or "")
    if day is None:
        message = f"{spec.name}: {partition!r} is not the date of a partition."
        raise BadInput(message, "Give one as --partition YYYY-MM-DD.")
    files = open_source(spec)
    folder = f"date={day}/" if spec.source.partitions == "folders" else ""
    # A folder outside start and end may be looked at by name.
    held = folder.rstrip("/") in files.folders("") if folder else str(day) in partitions(spec)
    if not held:
        known = partitions(spec)
        there = f"{known[0]} to {known[-1]} ({len(known)} in all)" if known else "none within start and end"
        message = f"{spec.name}: {files.uri} holds no partition {folder.rstrip('/') or day}."
        raise BadInput(message, f"Choose a date that the source holds: {there}.")
    return Partition(spec, day, files, folder)


def state(ctx: Context) -> Mapping[str, Any]:
    """What ingestion depends on beside the spec: names and bytes of the partition's files.

    Divided by event time: the rows of that day, and the images that they name.
    """
    part = open_partition(ctx.spec, ctx.partition)
    try:
        return _state(part)
    except FileNotFoundError as error:
        raise StageFailed(f"{part.where} changed while it was read: {error}.", "Run it again.") from None
    except OSError as error:
        raise BadInput(f"{part.where} cannot be read: {error}.", "Give this user the right to read it.") from None


def _state(part: Partition) -> Mapping[str, Any]:
    source = part.spec.source
    if source.partitions != "event_time":
        return {"source": _digest(part, part.used)}
    days = part.days()
    state = {"rows": days.pieces[str(part.day)]}
    if source.has_images:
        named = _named(part, days.names(part.day, source.image))
        state["images"] = _digest(part, (info for info in part.listed if info.path in named))
    return state


def _digest(part: Partition, infos: Iterable[FileInfo]) -> str:
    """Digest of the names, as the partition has them, and bytes of files."""
    found = digests(part.files, list(infos))
    return digest_json({path[len(part.folder) :]: digest for path, digest in found.items()})


def _named(part: Partition, names: Iterable[str]) -> set[str]:
    named = set()
    for name in names:
        with suppress(ValueError):
            named.add(path_in_source(part.folder, name))
    return named


def _date_of(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if str(day) == text else None
