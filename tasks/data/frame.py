"""Rows on their way into ``rows.parquet``: typed columns, and the first reason why each row cannot be used."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.core.artifacts import digest_bytes
from tasks.core.spec import Project, Source
from tasks.data.readers import Row
from tasks.runtime.rows import STAMP, TYPES, parse

_FRONT = (
    *(("row_id", pa.int64()), ("entity", pa.string()), ("event_time", STAMP), ("known_time", STAMP)),
    *((name, pa.string()) for name in ("label", "digest", "uri", "defect", "detail")),
)
_IMAGE = (
    *(("image", pa.string()), ("image_hash", pa.int64()), ("bytes", pa.int64())),
    *(("width", pa.int32()), ("height", pa.int32()), ("mode", pa.string()), ("format", pa.string())),
)
_LONGEST_DETAIL = 200
_LARGEST = float(np.finfo(np.float32).max)


def schema(spec: Project) -> pa.Schema:
    """Columns of ``rows.parquet``, for images or for a table; null where a value could not be had.

    ``row_id``: position among the partition's rows, from 0. ``digest``: SHA-256 of the image's bytes, or of the row as
    canonical JSON. ``uri``: the bytes as received, relative to the store. ``defect``: the first reason why the row
    cannot be used, as a code; ``detail``: what was seen. ``label``: text, or of a regression a number.
    """
    source = spec.source
    back = _IMAGE if source.has_images else [(column.name, TYPES[column.type]) for column in source.columns]
    found = pa.schema([*_FRONT, *back])
    label = found.get_field_index("label")
    return found.set(label, pa.field("label", pa.float64())) if spec.is_regression else found


def shorten(text: str) -> str:
    """At most 200 characters of a text."""
    return text if len(text) <= _LONGEST_DETAIL else text[: _LONGEST_DETAIL - 1] + "…"


@dataclass
class Frame:
    """Some rows of a partition.

    Attributes:
        first: the ``row_id`` of the first.
        columns: those filled in so far.
    """

    rows: Sequence[Row]
    first: int
    columns: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns["row_id"] = range(self.first, self.first + len(self.rows))
        self._values = [row.values or {} for row in self.rows]
        self.defects: list[str | None] = [None] * len(self.rows)
        self.details: list[str | None] = [None] * len(self.rows)

    def mark(self, row: int, code: str, detail: str) -> None:
        """Says why the row at a position in this frame cannot be used; one that has a reason keeps it."""
        if self.defects[row] is None:
            self.defects[row] = code
            self.details[row] = shorten(detail)

    def read(self, name: str, type: str, wrong: str, null: str = "") -> tuple[pa.Array, np.ndarray]:
        """A column of the source, typed; its wrong values are marked, and its missing ones where that is a fault.

        Args:
            type: as in the spec.
            wrong: the code for a value of another type.
            null: the code for a missing value; empty: none.

        Returns:
            The values, and which were wrong.
        """
        values = [values.get(name) for values in self._values]
        array, bad = parse(packed(values), type)
        for row in np.flatnonzero(bad).tolist():
            self.mark(row, wrong, f"{name}: {json.dumps(values[row], ensure_ascii=False, default=str)}")
        if null:
            for row in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False) & ~bad).tolist():
                self.mark(row, null, name)
        return array, bad

    def table(self, kinds: pa.Schema) -> pa.Table:
        """The rows as they are published; a column that nothing filled in is null."""
        columns = {**self.columns, "defect": self.defects, "detail": self.details}
        nothing = [None] * len(self.rows)
        arrays = [columns.get(kind.name, nothing) for kind in kinds]
        # A typed array passes through as it is.
        return pa.table([pa.array(a, k.type) for a, k in zip(arrays, kinds, strict=True)], kinds)


def open_frame(source: Source, rows: Sequence[Row], first: int, midnight: datetime, numbers: bool = False) -> Frame:
    """Rows with what every source has: entity, times and label.

    Args:
        first: the ``row_id`` of the first row.
        midnight: the time of events where the source names none.
        numbers: whether labels are numbers, not classes.
    """
    frame = Frame(rows, first)
    for number, row in enumerate(rows):
        if row.values is None:
            frame.mark(number, "malformed_row", row.text)
    digests = [digest_bytes(row.line) for row in rows]
    frame.columns["digest"] = frame.columns["entity"] = digests
    if source.entity:
        frame.columns["entity"], _ = frame.read(source.entity, "category", "wrong_type", "null_entity")
    if numbers:
        frame.columns["label"] = _number_labels(frame, source.label)
    else:
        frame.columns["label"], _ = frame.read(source.label, "category", "wrong_type", "null_label")
    frame.columns["event_time"] = [midnight] * len(rows)
    if source.event_time:
        frame.columns["event_time"], _ = frame.read(source.event_time, "time", "bad_event_time", "null_event_time")
    if source.known_time:
        frame.columns["known_time"], _ = frame.read(source.known_time, "time", "wrong_type")
    return frame


def _number_labels(frame: Frame, name: str) -> pa.Array:
    """Labels that a model can learn: finite also in single precision."""
    labels, _ = frame.read(name, "number", "bad_label", "null_label")
    values = labels.to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(np.abs(values) > _LARGEST).tolist():
        frame.mark(row, "bad_label", f"{name}: {values[row]:g}")
    return labels


def packed(values: list[Any]) -> pa.Array | list[Any]:
    """Values of one type as an array, which is much faster to parse than a list."""
    kinds = {*map(type, values)} - {type(None)}
    if len(kinds) == 1 and kinds <= {str, float, int, bool}:
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError):
            return values
    return values
