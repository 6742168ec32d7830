"""What the shipped samples share: rows dealt out over daily drops, at times spread through each day."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from tasks.core.artifacts import digest_bytes


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
