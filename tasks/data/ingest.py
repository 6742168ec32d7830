"""Ingestion: one partition of the source, every row accounted for, every byte kept as received.

A row that cannot be used is published like the others, with the reason in its ``defect``: whether bad rows are
tolerable is for the gate to say (`tasks.data.validate`), and none may get lost on the way there.
"""

import logging
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.artifacts import Rows, digest_bytes
from tasks.core.stages import Context, Outcome, stage
from tasks.data.source import digest_folder, partition_folder, partitions, read_labels
from tasks.runtime.images import BadImage, inspect

__all__ = ["SCHEMA", "ingest", "partitions"]

log = logging.getLogger("updraft")

SCHEMA = pa.schema(
    [
        ("row_id", pa.int64()),
        ("entity", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("label", pa.string()),
        ("image", pa.string()),
        ("uri", pa.string()),
        ("digest", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),
        ("defect", pa.string()),
    ]
)
"""Columns of ``rows.parquet``; null where a value could not be had. ``row_id``: position in the labels file, from 0.
``uri``: the archived bytes, relative to the store. ``defect``: the first reason why the row cannot be used."""

Fields = dict[str, Any]
"""Some columns of a row."""


def _source_state(ctx: Context) -> Mapping[str, Any]:
    return {"source": digest_folder(partition_folder(ctx.spec, ctx.partition))}


@stage(
    "ingest",
    "source.labels",
    "source.entity",
    "source.image",
    "source.label",
    "source.event_time",
    outside=_source_state,
)
def ingest(ctx: Context) -> Outcome:
    """Reads the partition's labels, archives and decodes every file, and publishes all rows as ``rows.parquet``.

    A labels file with a header and no rows is a day without data: nothing is published, and the log says so.

    Raises:
        BadInput: the source, the partition or its labels file is missing, or the labels file cannot be read.
    """
    folder = partition_folder(ctx.spec, ctx.partition)
    labels = folder / ctx.spec.source.labels
    lines = list(read_labels(labels, ctx.spec.source))
    if not lines:
        log.warning("%s has a header and no rows: the partition is published empty", labels)
    (ctx.out / "files").mkdir()
    # Reading, hashing and decoding leave Python's lock to the other threads.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        rows = list(pool.map(partial(_ingest_row, ctx, folder), range(len(lines)), lines))
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), ctx.out / "rows.parquet")
    defects = sum(row["defect"] is not None for row in rows)
    return Outcome(rows=Rows(received=len(rows), published=len(rows)), metrics={"defects": defects})


def _ingest_row(ctx: Context, folder: Path, row_id: int, line: Mapping[str | None, Any]) -> Fields:
    source = ctx.spec.source
    row = {name: line[getattr(source, name)] or None for name in ("entity", "label", "image")}
    malformed = "malformed_row" if None in line or None in line.values() else None
    nulls = [f"null_{name}" for name in ("entity", "label") if row[name] is None]
    time, bad_time = _read_time(line[source.event_time])
    archived, bad_file = _archive(ctx, folder, row["image"])
    faults = [fault for fault in (malformed, *nulls, bad_time, bad_file) if fault]
    return {"row_id": row_id, **row, "event_time": time, **archived, "defect": faults[0] if faults else None}


def _read_time(text: str | None) -> tuple[datetime | None, str | None]:
    """The event's time in UTC, or the reason why not; a time without a zone is taken as UTC."""
    if not text:
        return None, "null_event_time"
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC), None
    except (ValueError, OverflowError):
        return None, "bad_event_time"


def _archive(ctx: Context, folder: Path, image: str | None) -> tuple[Fields, str | None]:
    """Keeps the file's bytes under their digest and decodes them: what is known of it, and what is wrong with it."""
    path, fault = _resolve(folder, image)
    if path is None:
        return {}, fault
    try:
        data = path.read_bytes()
    except OSError:
        return {}, "unreadable_file"
    digest = digest_bytes(data)
    suffix = path.suffix.lower()
    name = f"files/{digest}{suffix if re.fullmatch('[.][a-z0-9]{1,8}', suffix) else ''}"
    (ctx.out / name).write_bytes(data)
    kept = {"uri": f"{ctx.spec.name}/ingest/{ctx.key}/{name}", "digest": digest, "bytes": len(data)}
    try:
        info = inspect(data)
    except BadImage as error:
        return kept, error.reason
    return kept | {"width": info.width, "height": info.height, "mode": info.mode}, None


def _resolve(folder: Path, image: str | None) -> tuple[Path | None, str | None]:
    """The file that a row names, if it lies in the partition's own folder, links followed; or the reason why not."""
    if not image:
        return None, "null_image"
    try:
        path = (folder / image).resolve()
        if ".." in Path(image).parts or not path.is_relative_to(folder):
            return None, "path_outside_partition"
        return (path, None) if path.is_file() else (None, "missing_file")
    except (OSError, ValueError):  # A name that is too long, or has a zero byte in it, names no file.
        return None, "missing_file"
