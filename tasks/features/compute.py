"""Feature computation: every clean row, an image or a table's, described by the spec's extractors."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.artifacts import Rows
from tasks.core.spec import Feature
from tasks.core.stages import Context, Outcome
from tasks.runtime.embedding import load_embedders
from tasks.runtime.extractors import extract, names
from tasks.runtime.images import decode
from tasks.runtime.rows import STAMP
from tasks.runtime.table_features import extract_table, is_text

CHUNK = 4096
"""Rows described at a time, and in a row group of the file: what is in memory beside the rows' own columns."""

_IDENTITY = ["entity", "event_time", "known_time", "label", "digest", "uri"]

Vectors = Mapping[str, np.ndarray]


def features(ctx: Context) -> Outcome:
    """Publishes ``features.parquet``: one row per clean row, sorted by entity and event time.

    Columns: entity, event_time, known_at, created_at, label, digest, uri, image_hash (null for tables), row (a table's
    declared columns as JSON; null for images), and for each feature group a list of float32 or, of text, of strings.
    ``known_at`` is when the values became known: a join at an earlier time must not see them. ``created_at`` is when
    the platform had them, the end of the partition's day.

    Raises:
        BadInput: the spec's image is too small for an extractor, or an embedding's network is not to be had.
    """
    rows = _sorted_rows(ctx)
    describe = _image_describer(ctx) if ctx.spec.source.has_images else _row_describer(ctx.spec.features)
    schema = _schema(ctx.spec.features)
    with pq.ParquetWriter(ctx.out / "features.parquet", schema) as writer:
        for start in range(0, rows.num_rows, CHUNK):
            chunk = rows.slice(start, CHUNK).combine_chunks()
            writer.write_table(_published(ctx, chunk, describe(chunk), schema))
    return Outcome(rows=Rows(received=rows.num_rows, published=rows.num_rows))


def _sorted_rows(ctx: Context) -> pa.Table:
    """What is needed of the clean rows: small columns for images, the declared ones for tables."""
    declared = [column.name for column in ctx.spec.source.columns]
    wanted = [*_IDENTITY, *(["image_hash"] if ctx.spec.source.has_images else declared)]
    rows = pq.read_table(ctx.file(ctx.input("validate"), "rows.parquet"), columns=wanted)
    return rows.sort_by([(name, "ascending") for name in ("entity", "event_time", "digest")])


def _published(ctx: Context, chunk: pa.Table, vectors: Vectors, schema: pa.Schema) -> pa.Table:
    assert ctx.partition is not None
    created = datetime.combine(date.fromisoformat(ctx.partition), datetime.min.time(), UTC) + timedelta(days=1)
    nothing = pa.nulls(chunk.num_rows)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        **{name: chunk[name] for name in _IDENTITY if name != "known_time"},
        "known_at": pc.coalesce(chunk["known_time"], chunk["event_time"]),
        "created_at": pa.repeat(pa.scalar(created, STAMP), chunk.num_rows),
        "image_hash": chunk["image_hash"] if ctx.spec.source.has_images else nothing,
        "row": nothing if ctx.spec.source.has_images else _json(chunk, [c.name for c in ctx.spec.source.columns]),
        **{group: _lists(values) for group, values in vectors.items()},
    }
    return pa.table([columns[field.name] for field in schema], names=schema.names).cast(schema)


def _schema(extractors: Sequence[Feature]) -> pa.Schema:
    text, whole = pa.string(), pa.int64()
    fixed = [("entity", text), ("event_time", STAMP), ("known_at", STAMP), ("created_at", STAMP), ("label", text)]
    groups = [(feature.group, pa.list_(text if is_text(feature) else pa.float32())) for feature in extractors]
    return pa.schema([*fixed, ("digest", text), ("uri", text), ("image_hash", whole), ("row", text), *groups])


def _row_describer(extractors: Sequence[Feature]) -> Callable[[pa.Table], Vectors]:
    used = {name for feature in extractors for name in getattr(feature, "columns", ())}
    return lambda chunk: extract_table({name: chunk[name].combine_chunks() for name in sorted(used)}, extractors)


def _image_describer(ctx: Context) -> Callable[[pa.Table], Vectors]:
    image, extractors, embedders = ctx.spec.image, ctx.spec.features, load_embedders(ctx)
    assert image is not None
    # Refuses an image too small for an extractor before the first one is read.
    groups = names(extractors, image, embedders)

    def compute(uri: str) -> Vectors:
        return extract(decode(ctx.store.read_bytes(uri), image), extractors, embedders)

    def describe(chunk: pa.Table) -> Vectors:
        # Decoding and most of NumPy leave Python's lock to the other threads.
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            found = list(pool.map(compute, chunk["uri"].to_pylist()))
        return {group: np.stack([vectors[group] for vectors in found]) for group in groups}

    return describe


def _json(rows: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Each row's columns as a JSON object, as `tasks.runtime.rows.parse` reads them back."""
    plain = [rows[name].cast(pa.string()) if rows[name].type == STAMP else rows[name] for name in columns]
    return pa.array((json.dumps(row, ensure_ascii=False) for row in _records(columns, plain)), pa.string())


def _records(names: Sequence[str], columns: Sequence[pa.ChunkedArray]) -> Iterator[dict[str, object]]:
    return (dict(zip(names, row, strict=True)) for row in zip(*(c.to_pylist() for c in columns), strict=True))


def _lists(values: np.ndarray) -> pa.ListArray:
    """(N, F) as N lists."""
    count, width = values.shape
    flat = pa.array(values.reshape(-1), pa.string() if values.dtype == object else pa.float32())
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * width, pa.int32()), flat)
