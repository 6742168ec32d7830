"""A source on disk: ``date=YYYY-MM-DD/`` folders, each with a labels file and the files that its rows name."""

import csv
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from tasks.core.artifacts import digest_file, digest_json
from tasks.core.errors import BadInput
from tasks.core.spec import Project, Source


def partitions(spec: Project) -> list[str]:
    """The dates that the source holds within the spec's ``start`` and ``end``, sorted.

    Raises:
        BadInput: the source does not exist.
    """
    found = (_date_of(path.name.removeprefix("date=")) for path in _folder(spec).glob("date=*") if path.is_dir())
    return [str(day) for day in sorted(filter(None, found)) if spec.start <= day <= (spec.end or day)]


def partition_folder(spec: Project, partition: str | None) -> Path:
    """The partition's folder, links resolved.

    Raises:
        BadInput: ``partition`` is not a date, or the source or its folder for that date does not exist.
    """
    if partition is None or _date_of(partition) is None:
        message = f"{spec.name}: {partition!r} is not the date of a partition."
        raise BadInput(message, "Give one as --partition YYYY-MM-DD.")
    folder = _folder(spec) / f"date={partition}"
    if not folder.is_dir():
        known = partitions(spec)
        there = f"{known[0]} to {known[-1]} ({len(known)} in all)" if known else "none within start and end"
        raise BadInput(f"{spec.name}: {folder} does not exist.", f"Choose a date that the source holds: {there}.")
    return folder.resolve()


def digest_folder(folder: Path) -> str:
    """Digest of the names and bytes of all files in a folder; of a link, what it points to."""
    state = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            state[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            state[name] = digest_file(path)
    return digest_json(state)


def read_labels(path: Path, source: Source) -> Iterator[dict[str | None, Any]]:
    """The rows of a labels file, by column name.

    A row with too many fields has those beyond the header under the key None; in one with too few, some are None.

    Raises:
        BadInput: there is no such file, it is not CSV in UTF-8, or it lacks a column that the spec names.
    """
    if not path.is_file():
        fix = "Put it there with its header, or set source.labels to the file's name."
        raise BadInput(f"The labels file {path} does not exist.", fix)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            _check_header(path, source, list(reader.fieldnames or ()))
            yield from reader
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8: {error.reason}.", "Save the labels file as UTF-8.") from None
    except csv.Error as error:
        raise BadInput(f"{path}: not readable as CSV: {error}.", "Correct that line.") from None


def _folder(spec: Project) -> Path:
    folder = spec.source.folder
    if folder.is_dir():
        return folder
    fix = "Set source.uri to the folder that holds date=YYYY-MM-DD/ partitions"
    fix += f", or land the sample: updraft run {spec.name}." if spec.source.sample else "."
    raise BadInput(f"{spec.name}: the source {folder} is not a folder.", fix)


def _date_of(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if str(day) == text else None


def _check_header(path: Path, source: Source, header: list[str]) -> None:
    for field in ("entity", "image", "label", "event_time"):
        column = getattr(source, field)
        if header.count(column) != 1:
            problem = "stands twice in the header" if column in header else "is missing"
            there = ", ".join(header) or "none, the file is empty"
            fix = f"Correct the header, or set source.{field} to a column that is there: {there}."
            raise BadInput(f"{path}: the column {column!r} {problem}.", fix)
