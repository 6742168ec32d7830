"""Feature computation: every clean row's image, decoded once and described by the spec's extractors."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.artifacts import Rows
from tasks.core.stages import Context, Outcome, stage
from tasks.runtime.extractors import extract, widths
from tasks.runtime.images import decode


@stage("features", "image", "features")
def features(ctx: Context) -> Outcome:
    """Publishes ``features.parquet``: one row per clean row, sorted by entity.

    Columns: entity, event_time, known_at, label, uri, and a list of float32 for each extractor, named by its ``kind``.
    ``known_at`` is when the values became known, the end of the partition's day: a join at an earlier time must not
    see them.

    Raises:
        BadInput: the spec's image is too small for an extractor.
    """
    assert ctx.partition is not None
    kinds = widths(ctx.spec.features, ctx.spec.image)
    columns = ["entity", "event_time", "label", "uri"]
    source = pq.read_table(ctx.file(ctx.input("validate"), "rows.parquet"), columns=columns).sort_by("entity")
    vectors = _vectors(ctx, source["uri"].to_pylist())
    known_at = datetime.combine(date.fromisoformat(ctx.partition), datetime.min.time(), UTC) + timedelta(days=1)
    table = source.add_column(
        2, "known_at", pa.array([known_at] * source.num_rows, source.schema.field("event_time").type)
    )
    for kind, width in kinds.items():
        table = table.append_column(kind, _lists([vector[kind] for vector in vectors], width))
    pq.write_table(table, ctx.out / "features.parquet")
    return Outcome(rows=Rows(received=source.num_rows, published=table.num_rows))


def _vectors(ctx: Context, uris: Sequence[str]) -> list[Mapping[str, np.ndarray]]:
    """The features of each image, in order."""

    def compute(uri: str) -> Mapping[str, np.ndarray]:
        return extract(decode(ctx.store.read_bytes(uri), ctx.spec.image), ctx.spec.features)

    # Decoding and most of NumPy leave Python's lock to the other threads.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(compute, uris))


def _lists(vectors: Sequence[np.ndarray], width: int) -> pa.ListArray:
    values = np.concatenate(vectors) if vectors else np.empty(0, np.float32)
    return pa.ListArray.from_arrays(pa.array(np.arange(len(vectors) + 1) * width, pa.int32()), pa.array(values))
