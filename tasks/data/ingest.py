"""Ingestion: one partition of the source, every row accounted for, every byte kept as received.

A row that cannot be used is published like the others, with the reason in its ``defect``: whether bad rows are
tolerable is for the gate to say (`tasks.data.validate`), and none may get lost on the way there.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath

import pyarrow.parquet as pq

from tasks.core.artifacts import Rows, digest_bytes
from tasks.core.errors import BadInput
from tasks.core.spec import Source
from tasks.core.stages import Context, Outcome
from tasks.data.drift import Drift, apply, merge
from tasks.data.frame import Frame, open_frame, schema
from tasks.data.pictures import Picture, take
from tasks.data.readers import Row, batched, read_rows, row_of
from tasks.data.source import Partition, open_partition

log = logging.getLogger("updraft")

_TABLE_ROWS, _IMAGE_ROWS = 20_000, 1_000
"""Rows in memory at once, and in a row group."""

_REPORT_SECONDS = 10
"""Between two lines in the log."""


@dataclass(frozen=True)
class Piece:
    """Rows of a partition that come from one place.

    Attributes:
        name: the place, for people.
        uri: where its bytes are kept as received; None: it has none of its own.
        source: which of its columns is what.
        folder: what the names of images are relative to.
    """

    name: str
    uri: str | None
    source: Source
    rows: Iterator[Row]
    folder: str = ""


class _Archive:
    """Keeps a partition's bytes under their digest, which says nothing of the code that ingests them."""

    def __init__(self, ctx: Context) -> None:
        self._store, self._folder = ctx.store, f"{ctx.spec.name}/raw/date={ctx.partition}"
        # Asked once: a question for every file would cost a remote store as much as the files.
        self._standing = set(ctx.store.list(self._folder))

    def keep(self, data: bytes, name: str) -> tuple[str, str]:
        """Archives bytes that a source calls ``name``; returns their digest, and the path in the store."""
        digest, suffix = digest_bytes(data), PurePosixPath(name).suffix.lower()
        suffix = suffix if re.fullmatch("[.][a-z0-9]{1,8}", suffix) else ""
        uri = f"{self._folder}/{digest}{suffix}"
        if uri not in self._standing:
            self._store.put_new(uri, data)
        return digest, uri


def ingest(ctx: Context) -> Outcome:
    """Reads the partition's rows, keeps their files, decodes every image in full, and publishes ``rows.parquet``.

    A table with a header and no rows is a day without data: it is published empty, and the log says so. Memory does
    not grow with the number of rows.

    Raises:
        BadInput: the source, the partition or its files of rows are missing, or one of the latter cannot be read.
    """
    part = open_partition(ctx.spec, ctx.partition)
    columns, archive = schema(ctx.spec), _Archive(ctx)
    path, progress, drifts = ctx.out / "rows.parquet", _Progress(f"ingest {ctx.partition}"), []
    with ThreadPoolExecutor(_threads(ctx.spec.source)) as pool, pq.ParquetWriter(path, columns) as writer:
        for piece in _pieces(ctx, part, archive):
            drift = Drift(piece.source, piece.name, first=progress.rows)
            for rows in batched(piece.rows, _IMAGE_ROWS if piece.source.has_images else _TABLE_ROWS):
                drift.add(rows)
                frame = open_frame(piece.source, rows, progress.rows, _midnight(part), ctx.spec.is_regression)
                if piece.source.has_images:
                    _add_images(frame, piece, pool, partial(take, part.files, piece.folder, keep=archive.keep))
                else:
                    _add_columns(frame, piece, drift)
                writer.write_table(frame.table(columns))
                progress.add(len(rows))
            drifts.append(drift)
    apply(path, [patch for drift in drifts for patch in drift.patches()])
    _tell_what_is_no_data(part)
    if not progress.rows:
        log.warning("%s has no rows: the partition is published empty", part.where)
    defects = pq.read_table(path, columns=["defect"])["defect"]
    drifted = merge(drifts)
    # A file, too: what validation makes of an added column follows from it, so its digest must.
    (ctx.out / "schema.json").write_text(json.dumps(drifted), encoding="utf-8")
    metrics = {"defects": len(defects) - defects.null_count, "schema": drifted}
    return Outcome(Rows(received=progress.rows, published=len(defects)), metrics=metrics)


def _pieces(ctx: Context, part: Partition, archive: _Archive) -> Iterator[Piece]:
    source = part.spec.source
    if source.format == "image_folders":
        names = {"entity": "image", "image": "image", "label": "label", "event_time": None, "known_time": None}
        yield Piece(part.folder, None, source.model_copy(update=names), _rows_of_folders(part))
    elif source.partitions == "event_time":
        piece = part.days().piece(part.day)
        _, uri = archive.keep(piece.read_bytes(), piece.name)
        yield Piece(f"the rows of {part.day}", uri, source, read_rows(piece))
    else:
        for info in part.tables:
            name = info.path[len(part.folder) :]
            copy, uri = _copy(ctx, part, archive, info.path)
            yield Piece(name, uri, source, read_rows(copy, f"{part.files.uri}/{info.path}"), part.folder)


def _copy(ctx: Context, part: Partition, archive: _Archive, path: str) -> tuple[Path, str]:
    """A file of rows, read once: what is kept and what is parsed are the same, whatever happens to it meanwhile.

    Returns:
        A local copy, and where it is kept.
    """
    try:
        data = part.files.read_bytes(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{part.files.uri}/{path} cannot be read: {error}", "Make it a file that can be.") from None
    _, uri = archive.keep(data, path)
    copy = ctx.work / PurePosixPath(uri).name
    copy.write_bytes(data)
    return copy, uri


def _rows_of_folders(part: Partition) -> Iterator[Row]:
    """A row for each file: the folder it lies in is its label."""
    for info in part.infos:
        path = info.path.encode("utf-8", "backslashreplace").decode()
        folder, slash, _ = path[len(part.folder) :].partition("/")
        yield row_of({"image": path, "label": folder if slash else None})


def _add_columns(frame: Frame, piece: Piece, drift: Drift) -> None:
    """Fills in a table's columns."""
    frame.columns["uri"] = [piece.uri] * len(frame.rows)
    for column in piece.source.columns:
        array, wrong = frame.read(column.name, column.type, "wrong_type")
        drift.count(column.name, array, wrong)
        frame.columns[column.name] = array


def _add_images(frame: Frame, piece: Piece, pool: Executor, take_in: Callable[[str], Picture]) -> None:
    """Takes in the images that rows name; reading, hashing and decoding leave Python's lock to the other threads."""
    names, _ = frame.read(piece.source.image, "text", "wrong_type", "null_image")
    pictures = list(pool.map(lambda name: Picture() if name is None else take_in(name), names.to_pylist()))
    for number, picture in enumerate(pictures):
        if picture.defect:
            frame.mark(number, picture.defect, picture.detail)
    fields = {name: [getattr(picture, name) for picture in pictures] for name in Picture._fields}
    frame.columns |= fields | {"image": names}
    # A row that cannot be read stands in the labels file alone.
    unread = [piece.uri if row.values is None else None for row in frame.rows]
    frame.columns["uri"] = [own or labels for own, labels in zip(fields["uri"], unread, strict=True)]


def _tell_what_is_no_data(part: Partition) -> None:
    """Names in the log the files that are not used, so that nobody misses them."""
    used = {info.path for info in part.used}
    names = [info.path for info in part.listed if info.path not in used]
    if names:
        log.info("%s: %d files are no data: %s", part.where, len(names), ", ".join(names[:5]))


def _midnight(part: Partition) -> datetime:
    return datetime.combine(part.day, datetime.min.time(), UTC)


def _threads(source: Source) -> int:
    """As many as can decode; of a remote source, as many as keep the line busy."""
    return 16 if source.remote else len(os.sched_getaffinity(0))


class _Progress:
    """Counts rows, and says how far it is."""

    def __init__(self, what: str) -> None:
        self.rows = 0
        self._what = what
        self._started = self._reported = time.monotonic()

    def add(self, rows: int) -> None:
        self.rows += rows
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            log.info("%s: %d rows, %.0f rows/s", self._what, self.rows, self.rows / (now - self._started))
