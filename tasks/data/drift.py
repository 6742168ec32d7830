"""Schema drift: columns that a file of the source lost, gained, or fills with another type than it used to."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.spec import Source
from tasks.data.frame import shorten
from tasks.data.readers import Row


@dataclass(frozen=True)
class Patch:
    """Rows ``first`` to ``last`` (excluded) that cannot be used for a reason known only when their file is read."""

    first: int
    last: int
    defect: str
    detail: str


@dataclass
class Drift:
    """What the rows of one file are, against what the spec names.

    Attributes:
        name: the file's, for people.
        first: the ``row_id`` of its first row.
    """

    source: Source
    name: str
    first: int
    last: int = 0
    _seen: dict[str, None] = field(default_factory=dict)
    _counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, rows: Sequence[Row]) -> None:
        """Takes note of the columns that the next rows have."""
        self.last = max(self.last, self.first) + len(rows)
        self._seen |= dict.fromkeys(chain.from_iterable(row.values or () for row in rows))

    def count(self, column: str, array: pa.Array, wrong: np.ndarray) -> None:
        """Takes note of a column's next values: those of its type, and which were of another."""
        good, bad = self._counts.get(column, (0, 0))
        self._counts[column] = good + len(array) - array.null_count, bad + int(wrong.sum())

    @property
    def added(self) -> set[str]:
        """Columns that the spec does not name."""
        return set(self._seen) - self._named()

    @property
    def removed(self) -> set[str]:
        """Columns that the spec names and no row has."""
        return self._named() - set(self._seen) if self._seen else set()

    @property
    def retyped(self) -> set[str]:
        """Columns of which more than half of the values that there are have another type."""
        return {column for column, (good, bad) in self._counts.items() if bad > good}

    def patches(self) -> list[Patch]:
        """What that means for the file's rows, the worst first."""
        removed = f"{', '.join(sorted(self.removed))}; {self.name} has {', '.join(self._seen)}"
        found = [Patch(self.first, self.last, "column_removed", shorten(removed))] if self.removed else []
        for column in sorted(self.retyped):
            good, bad = self._counts[column]
            detail = f"{column}: {bad} of {good + bad} values in {self.name} are no {self._types()[column]}"
            found.append(Patch(self.first, self.last, "column_retyped", shorten(detail)))
        return found

    def _named(self) -> set[str]:
        source = self.source
        names = {source.entity, source.label, source.event_time, source.known_time, *self._types()}
        return {name for name in names | ({source.image} if source.has_images else set()) if name is not None}

    def _types(self) -> Mapping[str, str]:
        return {column.name: column.type for column in self.source.columns}


def merge(drifts: Iterable[Drift]) -> dict[str, list[str]]:
    """The drift of all files together, for the manifest."""
    drifts = list(drifts)
    kinds = ("added", "removed", "retyped")
    return {kind: sorted(set().union(*(getattr(drift, kind) for drift in drifts))) for kind in kinds}


def apply(path: Path, patches: Sequence[Patch]) -> None:
    """Marks the rows of a published file; what stood there as their defect gives way, unless it was malformed."""
    if not patches:
        return
    aside = path.with_name(f".{path.name}")
    with pq.ParquetFile(path) as old, pq.ParquetWriter(aside, old.schema_arrow) as new:
        for group in range(old.num_row_groups):
            new.write_table(_patched(old.read_row_group(group), patches))
    os.replace(aside, path)


def _patched(table: pa.Table, patches: Sequence[Patch]) -> pa.Table:
    rows, defects, details = (table[name] for name in ("row_id", "defect", "detail"))
    free = pc.fill_null(pc.not_equal(defects, "malformed_row"), True)
    for patch in reversed(patches):
        inside = pc.and_(pc.greater_equal(rows, patch.first), pc.less(rows, patch.last))
        defects = pc.if_else(pc.and_(inside, free), patch.defect, defects)
        details = pc.if_else(pc.and_(inside, free), patch.detail, details)
    for name, column in (("defect", defects), ("detail", details)):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table
