"""Shards: a split's rows packed into a few large Arrow files, read back as NumPy arrays over the mapped file.

A shard is one uncompressed record batch, so that reading it costs no decoding and, for a split of one shard, no copy.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.core.errors import UpdraftError

SPLITS = ("train", "validation", "test")
"""The splits of a dataset, in the order in which reports list them."""

SHARD_BYTES = 256 * 2**20
"""About how large a shard gets: large reads, yet several of them to share out among ranks."""

_SHAPE = b"image_shape"


@dataclass(frozen=True)
class Split:
    """The rows of one split; the arrays are aligned and read-only.

    Attributes:
        images: uint8, (N, H, W, C); None for tables.
        features: the group's name to float32, or to an object array of str, (N, F), before any transform.
        labels: (N,): int32, the index into the spec's classes; of a regression float32, the numbers.
        entities: what each row is about, N of them.
        uris: what was received (an image, a table's file), as paths in the store, N of them.
        folds: int32, (N,): the cross-validation fold of each row; -1 in the test split.
        rows: each row's declared columns as a JSON object, N of them; None for images.
    """

    images: np.ndarray | None
    features: Mapping[str, np.ndarray]
    labels: np.ndarray
    entities: Sequence[str]
    uris: Sequence[str]
    folds: np.ndarray
    rows: Sequence[str] | None

    def __len__(self) -> int:
        return len(self.labels)


def pack(
    images: np.ndarray | None,
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    entities: Sequence[str],
    uris: Sequence[str],
    event_times: Sequence[datetime] | np.ndarray,
    *,
    folds: np.ndarray | None = None,
    rows: Sequence[str] | None = None,
) -> pa.Table:
    """The table that `write_split` takes, from arrays shaped as in `Split`.

    Args:
        event_times: when each row's event was, time-zone aware; or datetime64 in UTC.
        folds: without them, every row is of fold 0.
    """
    columns: dict[str, pa.Array] = {
        "entity": pa.array(entities, pa.string()),
        "event_time": pa.array(event_times, pa.timestamp("us", "UTC")),
        "label": pa.array(np.asarray(labels, np.float32 if labels.dtype.kind == "f" else np.int32)),
        "fold": pa.array(np.zeros(len(labels), np.int32) if folds is None else np.asarray(folds, np.int32)),
        "uri": pa.array(uris, pa.string()),
    }
    if rows is not None:
        columns["row"] = pa.array(rows, pa.string())
    if images is not None:
        columns["image"] = _fixed_binary(images)
    for name, values in features.items():
        flat = np.ascontiguousarray(values).reshape(-1)
        typed = pa.array(flat, pa.string()) if values.dtype == object else pa.array(flat.astype(np.float32, copy=False))
        columns[name] = pa.FixedSizeListArray.from_arrays(typed, values.shape[1])
    shape = {} if images is None else {_SHAPE: json.dumps(images.shape[1:])}
    return pa.table(columns).replace_schema_metadata(shape)


def rows_per_shard(row_bytes: int) -> int:
    """How many rows of so many bytes go into one shard of about `SHARD_BYTES`."""
    return max(1, SHARD_BYTES // max(1, row_bytes))


def write_split(folder: Path, name: str, table: pa.Table, rows_per_shard: int = 65_536) -> list[Path]:
    """Writes ``<name>-00000.arrow``, ... under ``folder``.

    Args:
        table: as `pack` makes it.

    Returns:
        The shards in order; an empty table gives one empty shard.
    """
    starts = range(0, max(1, table.num_rows), rows_per_shard)
    return [write_shard(folder, name, number, table.slice(at, rows_per_shard)) for number, at in enumerate(starts)]


def write_shard(folder: Path, name: str, number: int, table: pa.Table) -> Path:
    """Writes ``<name>-<number>.arrow``, for a split that does not fit into memory; equal tables give equal bytes."""
    # Arrow writes a slice with whatever else its buffers hold; a copy holds the rows alone.
    rows = table.take(pa.array(range(table.num_rows), pa.int64()))
    batch = pa.record_batch([column.combine_chunks() for column in rows.columns], schema=table.schema)
    path = folder / f"{name}-{number:05d}.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_batch(batch)
    return path


def read_table(folder: Path, name: str) -> pa.Table:
    """The split's table over its memory-mapped shards.

    Raises:
        UpdraftError: ``folder`` has no such split.
    """
    paths = sorted(folder.glob(f"{name}-[0-9]*.arrow"))
    if not paths:
        raise UpdraftError(f"{folder} holds no split {name!r}.", "Run the dataset stage again.")
    return pa.concat_tables(pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths)


def read_split(folder: Path, name: str) -> Split:
    """Reads what `write_split` wrote.

    Raises:
        UpdraftError: ``folder`` has no such split.
    """
    return as_split(read_table(folder, name))


def evenly(count: int, most: int) -> np.ndarray:
    """The numbers of at most so many of ``count`` rows, evenly spaced, ascending."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def chosen(table: pa.Table, rows: Iterable[int]) -> pa.Table:
    """Some rows of what `read_table` gave, in the order of ``rows``; nothing is read from the file yet."""
    return pa.concat_tables([table.slice(0, 0), *(table.slice(row, 1) for row in rows)])


def as_split(table: pa.Table) -> Split:
    """The rows of a table as `read_table` gives it, columns of which may be left out but for those of every split."""
    columns = set(table.column_names)
    features = [field.name for field in table.schema if pa.types.is_fixed_size_list(field.type)]
    return Split(
        images=_images(table) if "image" in columns else None,
        features={name: _matrix(table[name]) for name in features},
        labels=_joined([chunk.to_numpy() for chunk in table["label"].chunks]),
        entities=table["entity"].to_pylist(),
        uris=table["uri"].to_pylist(),
        folds=_joined([chunk.to_numpy() for chunk in table["fold"].chunks]),
        rows=table["row"].to_pylist() if "row" in columns else None,
    )


def _images(table: pa.Table) -> np.ndarray:
    shape = json.loads(table.schema.metadata[_SHAPE])
    return _joined([_bytes(chunk) for chunk in table["image"].chunks]).reshape(-1, *shape)


def _fixed_binary(images: np.ndarray) -> pa.Array:
    flat = np.ascontiguousarray(images, np.uint8)
    size = math.prod(flat.shape[1:])
    return pa.Array.from_buffers(pa.binary(size), len(flat), [None, pa.py_buffer(flat.reshape(-1))])


def _bytes(chunk: pa.Array) -> np.ndarray:
    size = chunk.type.byte_width
    return np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * size, chunk.offset * size)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    text = pa.types.is_string(column.type.value_type)
    flat = [chunk.flatten().to_numpy(zero_copy_only=not text) for chunk in column.chunks]
    return _joined(flat).reshape(-1, column.type.list_size)


def _joined(parts: list[np.ndarray]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
