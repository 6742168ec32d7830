"""A bounded look at a table of any length: some of its rows, and how often each value occurs in all of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import Any

from tasks.core.store import FileInfo, Files
from tasks.data.infer.paths import day_of
from tasks.data.readers import Row, batched, read_rows
from tasks.runtime.rows import parse

Say = Callable[[str], None]
"""Told what happens, for a person to read."""

FIRST = 2_000
"""Rows kept from the start."""

KEPT = 20_000
"""Rows kept at most."""

READ_BYTES = 2**28
"""Bytes of table files that are read, about."""

VALUES = 1_000
"""Values of a column that are counted at most; a column with more is no label."""


@dataclass
class Sample:
    """Rows of a table: the first ones and every k-th of the others, k doubling as the table goes on.

    Attributes:
        read: rows read, those that are no rows of the table among them.
        unreadable: how many those are.
        columns: their names, in the order of appearance.
        rows: the kept ones.
        days: the date of the partition that each kept row came from; None where partitions are no folders.
    """

    read: int = 0
    unreadable: int = 0
    columns: list[str] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    days: list[date | None] = field(default_factory=list)
    _counts: dict[str, Counter[Any] | None] = field(default_factory=dict)
    _positions: list[int] = field(default_factory=list)
    _stride: int = 1

    def add(self, batch: Sequence[Row], day: date | None) -> None:
        """Takes in the next rows."""
        sound = [(self.read + at, row.values) for at, row in enumerate(batch) if row.values is not None]
        self.read += len(batch)
        self.unreadable += len(batch) - len(sound)
        self._count([values for _, values in sound])
        kept = [(position, values) for position, values in sound if self._wanted(position)]
        self._positions += [position for position, _ in kept]
        self.rows += [values for _, values in kept]
        self.days += [day] * len(kept)
        while len(self.rows) > KEPT:
            self._stride *= 2
            keep = [at for at, position in enumerate(self._positions) if self._wanted(position)]
            self.rows, self.days = [self.rows[at] for at in keep], [self.days[at] for at in keep]
            self._positions = [self._positions[at] for at in keep]

    @property
    def complete(self) -> bool:
        """Whether every row that could be read was kept."""
        return len(self.rows) == self.read - self.unreadable

    def column(self, name: str) -> list[Any]:
        """A column's values in the kept rows; None where a row lacks it."""
        return [row.get(name) for row in self.rows]

    def counts(self, name: str) -> Counter[str] | None:
        """How often each value of a column occurs in all rows read; None: there are too many."""
        raw = self._counts[name]
        if raw is None:
            return None
        spelled = parse(list(raw), "category")[0].to_pylist()
        found: Counter[str] = Counter()
        for value, count in zip(spelled, raw.values(), strict=True):
            if value is not None:
                found[value] += count
        return found

    def _wanted(self, position: int) -> bool:
        return position < FIRST or position % self._stride == 0

    def _count(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for name in dict.fromkeys(name for row in rows for name in row):
            if name not in self._counts:
                self.columns.append(name)
                self._counts[name] = Counter()
            counter = self._counts[name]
            if counter is None:
                continue
            try:
                counter.update(row.get(name) for row in rows)
            except TypeError:  # A list or an object.
                self._counts[name] = None
            if len(counter) > VALUES:
                self._counts[name] = None


def read_sample(files: Files, tables: Sequence[FileInfo], say: Say) -> Sample:
    """Reads tables, evenly chosen of all if together they are too large; says how far it is and what it left out."""
    chosen = _affordable(tables)
    if len(chosen) < len(tables):
        say(f"looking at {len(chosen)} of {len(tables)} files, evenly chosen")
    sample, size, told = Sample(), 0, 0
    for info in chosen:
        for batch in batched(_rows(files, info.path), 10_000):
            sample.add(batch, day_of(info.path))
            size += sum(len(row.line) for row in batch)
            if sample.read >= told + 500_000:
                told = sample.read
                say(f"{sample.read:,} rows read")
            if size > 2 * READ_BYTES:
                say(f"looking at the first {sample.read:,} rows alone")
                return sample
    return sample


def head(files: Files, path: str, count: int = 100) -> list[Mapping[str, Any]]:
    """The first readable rows of a table."""
    return [row.values for row in islice(_rows(files, path), count) if row.values is not None]


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` items, two or more, the first and the last among them, in order."""
    if len(items) <= count:
        return list(items)
    return [items[at * (len(items) - 1) // (count - 1)] for at in range(count)]


def _rows(files: Files, path: str) -> Iterator[Row]:
    return read_rows(files.local(path), f"{files.uri}/{path}")


def _affordable(tables: Sequence[FileInfo]) -> list[FileInfo]:
    total = sum(info.size for info in tables)
    if total <= READ_BYTES:
        return list(tables)
    return evenly(tables, max(2, len(tables) * READ_BYTES // total))
