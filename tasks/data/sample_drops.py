"""What the shipped samples share: rows dealt out over daily drops, at times spread through each day."""

import csv
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tasks.core.artifacts import digest_bytes

Row = list[str]
"""One line of a table."""


def deal(keys: Sequence[str], start: date, days: int) -> Iterator[tuple[date, list[int]]]:
    """Every day with the positions of the keys that fall on it.

    By digest: the days look alike, and no random generator's version can move a row to another day.
    """
    order = sorted(range(len(keys)), key=lambda position: digest_bytes(keys[position].encode()))
    for day in range(days):
        yield start + timedelta(days=day), order[day::days]


def times(day: date, count: int) -> list[str]:
    """``count`` moments of the day in equal steps from midnight, ISO 8601 in UTC."""
    midnight, step = datetime.combine(day, datetime.min.time(), UTC), timedelta(days=1) / max(count, 1)
    return [(midnight + step * position).isoformat(timespec="seconds") for position in range(count)]


def write_drop(folder: Path, day: date, name: str, rows: Sequence[Row]) -> None:
    """Writes a day's table, the header among ``rows``, as CSV."""
    drop = folder / f"date={day}"
    drop.mkdir(parents=True)
    with (drop / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def with_value(position: int, value: str) -> Callable[[Row], Row]:
    """A fault: ``value`` at a position of a row."""
    return lambda row: [*row[:position], value, *row[position + 1 :]]
