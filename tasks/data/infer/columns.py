"""What a table's columns are: types, missing values, and which ones name the thing, its label and its time."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.errors import BadInput
from tasks.data.infer.sample import Sample
from tasks.runtime.rows import parse

Type = Literal["number", "category", "text", "time", "boolean"]

WRONG = 0.02
"""Share of values that may be of another type than their column."""

UNIQUE = 0.95
"""Share of distinct values from which a column names things; the others are repetitions by mistake."""

LABELS = (
    *("label", "labels", "target", "class", "classes", "y", "outcome", "ground_truth", "category", "species"),
    *("diagnosis", "sentiment", "topic"),
)
"""Names by which a label is known, the surest first."""

TIMES = ("event_time", "timestamp", "datetime", "time", "date", "created_at")
KNOWN = ("known_time", "known_at", "labelled_at", "labeled_at", "label_time")

_COUNTED: tuple[Type, ...] = ("boolean", "number", "time")
_ONE = "it holds one value at most"
_ID = re.compile(r"(^|[^a-zA-Z])(id|uuid|guid|key)$|[a-z]I[dD]$", re.IGNORECASE)
_TIME = re.compile(r"(_at|_on|_ts|_?time|_?date)$", re.IGNORECASE)
_NO_EVENT = re.compile(r"birth|dob|expir|known|label", re.IGNORECASE)


@dataclass(frozen=True)
class Profile:
    """A column as the kept rows show it.

    Attributes:
        type: what nearly all of its values are.
        values: typed, null where missing or wrong.
        wrong: mask of the values that are of another type.
        why: why no feature can be made from it; empty: one can.
    """

    name: str
    type: Type
    values: pa.Array
    wrong: np.ndarray
    why: str = ""

    @cached_property
    def present(self) -> pa.Array:
        """The values that are there."""
        return self.values.drop_null()

    @cached_property
    def missing(self) -> np.ndarray:
        """Mask of the rows without a value; a wrong one is there."""
        return self.values.is_null().to_numpy(zero_copy_only=False) & ~self.wrong

    @cached_property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self.present.unique())


def profile(name: str, values: Sequence[Any]) -> Profile:
    """Finds the type that nearly all of a column's values have."""
    for type in _COUNTED:
        typed, wrong = parse(values, type)
        there = len(typed) - typed.null_count + wrong.sum()
        if there and wrong.sum() <= WRONG * there:
            return _counted(Profile(name, type, typed, wrong), values)
    return _worded(name, values)


def find_label(sample: Sample, asked: str | None) -> str:
    """The label's column.

    Raises:
        BadInput: it cannot be told, or the one asked for is not there.
    """
    if asked is not None:
        if asked not in sample.columns:
            raise BadInput(f"--label {asked}: no such column.", f"Columns: {', '.join(sample.columns)}.")
        return asked
    if found := _named(sample.columns, LABELS):
        return found
    counts = {name: len(sample.counts(name) or ()) for name in sample.columns}
    counts = {name: count for name, count in counts.items() if 2 <= count <= 100}
    candidates = ", ".join(f"{name} ({count} values)" for name, count in sorted(counts.items(), key=lambda x: x[1]))
    message = "It cannot be told which column holds the label"
    message += (
        f"; candidates: {candidates}." if candidates else f": none of {', '.join(sample.columns)} repeats values."
    )
    raise BadInput(message, "Say which with --label COLUMN.")


def find_times(profiles: Mapping[str, Profile]) -> tuple[str | None, str | None]:
    """The columns with the time of the event and with the time at which it became known."""
    stamps = [name for name, found in profiles.items() if found.type == "time" and found.missing.mean() <= WRONG]
    known = _named(stamps, KNOWN)
    likely = [name for name in stamps if _TIME.search(name) and not _NO_EVENT.search(name)]
    return _named(stamps, TIMES) or next(iter(likely), None), known


def find_entity(profiles: Mapping[str, Profile], event_time: str | None) -> str | None:
    """The column that names things: called an id or the first of the table, always there, and never twice; else one
    that is called an id and never stands twice at the same time."""
    there = [found for found in profiles.values() if found.missing.mean() <= WRONG]
    named = [found for found in there if _ID.search(found.name)]
    first = [found for found in there[:1] if found.why and found.type == "category"]
    for found in [*sorted(named, key=lambda each: -each.distinct), *first]:
        if found.distinct >= UNIQUE * len(found.values):
            return found.name
    stamps = profiles[event_time].values.to_pylist() if event_time else []
    for found in named if stamps else ():
        if len(set(zip(found.values.to_pylist(), stamps, strict=True))) >= UNIQUE * len(stamps):
            return found.name
    return None


def _named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    spelled = {column.strip().casefold().replace(" ", "_"): column for column in reversed(columns)}
    return next((spelled[name] for name in names if name in spelled), None)


def _counted(found: Profile, values: Sequence[Any]) -> Profile:
    """A column of numbers, times or booleans."""
    text = [value for value in values if isinstance(value, str)]
    padded = sum(bool(re.match(r"0\d", value.strip())) for value in text)
    if found.type == "number" and text and padded > WRONG * len(text):
        # Post codes and the like: a number would lose the zeros in front.
        return _worded(found.name, values)
    if found.distinct < 2:
        return replace(found, why=_ONE)
    if _ID.search(found.name) and found.type == "number" and found.distinct >= UNIQUE * len(found.values):
        return replace(found, why="it numbers the rows")
    return found


def _worded(name: str, values: Sequence[Any]) -> Profile:
    """A column of categories, texts or names."""
    found = Profile(name, "category", *parse(values, "category"))
    present = found.present
    if found.wrong.sum() > WRONG * len(values):
        return replace(found, why="it holds lists or objects")
    if found.distinct < 2:
        return replace(found, why=_ONE)
    words = np.mean([len(value.split()) for value in present.to_pylist()])
    # Some languages put no blanks between words.
    unspaced = words < 2 and pc.mean(pc.utf8_length(present)).as_py() >= 12 and not _is_ascii(present)
    if (words >= 4 or unspaced) and found.distinct > min(20, len(present) / 4):
        return replace(found, type="text")
    if found.distinct <= max(2, len(present) / 2):
        return found
    if words >= 2.5:
        return replace(found, type="text")
    return replace(found, why=_nearly(values) or "nearly every row has another value")


def _is_ascii(texts: pa.Array) -> bool:
    return "".join(texts[:100].to_pylist()).isascii()


def _nearly(values: Sequence[Any]) -> str:
    """What keeps a column from being one of numbers or times."""
    there = [value for value in values if value not in (None, "")]
    for type in ("number", "time"):
        _, wrong = parse(there, type)
        if 0 < wrong.sum() < len(there) / 2:
            odd = Counter(str(value) for value, bad in zip(there, wrong, strict=True) if bad).most_common(1)[0][0]
            return f"nearly all is of type {type}, but {wrong.sum()} of {len(there)} values are not, as {odd!r:.40}"
    return ""
