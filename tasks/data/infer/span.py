"""When a source's data is from: its partitions, the first and the last of them, and how late rows come."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pyarrow as pa

from tasks.core.store import Files
from tasks.data.infer.columns import Profile
from tasks.data.infer.layout import Layout
from tasks.data.infer.sample import Sample
from tasks.data.readers import batched, read_rows
from tasks.runtime.rows import parse

MANY_DAYS = 1_000
"""Daily partitions beyond which a source is better one partition."""

_LATEST = 31
"""Days by which an event may come late; a time that lies further back is not the event's."""

_STILL_COMING = timedelta(days=7)
_DAY = "datetime64[D]"


@dataclass(frozen=True)
class Span:
    """The partitions of a source.

    Attributes:
        end: None: data keeps coming.
        timed: whether the column that was taken for the event's time is one.
    """

    partitions: Literal["folders", "event_time", "single"]
    start: date
    end: date | None
    count: int = 1
    late_days: int = 0
    timed: bool = False


def find_span(files: Files, layout: Layout, sample: Sample | None, event: Profile | None, today: date) -> Span:
    """Dates of the folders, else those of the events, else yesterday: the last day that is over."""
    if layout.days:
        late = None if event is None or sample is None else _lateness(sample, event)
        first, last = layout.days[0], layout.days[-1]
        return Span("folders", first, _end(last, today), len(layout.days), late or 0, late is not None)
    if event is None or sample is None:
        yesterday = today - timedelta(days=1)
        return Span("single", yesterday, yesterday)
    days = _likely(_event_days(files, layout, sample, event), today)
    first, last = days[0].item(), days[-1].item()
    count = len(np.unique(days))
    if count > MANY_DAYS:
        return Span("single", last, last, timed=True)
    return Span("event_time", first, _end(last, today), count, 0, True)


def _end(last: date, today: date) -> date | None:
    return None if last >= today - _STILL_COMING else last


def _lateness(sample: Sample, event: Profile) -> int | None:
    """Days by which nearly all events precede their partition; None: the times have nothing to do with it."""
    there = event.values.is_valid().to_numpy(zero_copy_only=False)
    days = event.values.to_numpy(zero_copy_only=False).astype(_DAY)
    late = (np.array(sample.days, _DAY) - days)[there].astype(int)
    usual = int(np.quantile(late, 0.99, method="lower")) if len(late) else _LATEST + 1
    return usual if usual <= _LATEST and np.mean((late >= 0) & (late <= usual)) >= 0.9 else None


def _event_days(files: Files, layout: Layout, sample: Sample, event: Profile) -> np.ndarray:
    """The day of every event, in order: of all rows, for a day that is left out would not be ingested."""
    stamps = [event.present] if sample.complete else _stamps(files, layout, event.name)
    return np.sort(np.concatenate([found.to_numpy(zero_copy_only=False).astype(_DAY) for found in stamps]))


def _stamps(files: Files, layout: Layout, column: str) -> Iterator[pa.Array]:
    for info in layout.tables:
        for batch in batched(read_rows(files.local(info.path), info.path), 10_000):
            yield parse([row.values.get(column) for row in batch if row.values], "time")[0].drop_null()


def _likely(days: np.ndarray, today: date) -> np.ndarray:
    """Without the future, and without the few that lie so far off that they are mistakes."""
    past = days[days <= np.datetime64(today, "D")]
    days = past if len(past) else days
    low, high = days[len(days) // 200], days[-1 - len(days) // 200]
    margin = high - low + 1
    return days[(days >= low - margin) & (days <= high + margin)]
