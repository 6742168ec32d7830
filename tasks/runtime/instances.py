"""Rows of a table as they are sent one by one: checked against the columns that a model was trained on, then typed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.core.errors import UpdraftError
from tasks.core.spec import Column

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]

_WANTED = {
    "number": "a number",
    "category": "a text or a whole number",
    "text": "a text",
    "time": "a time in ISO 8601, such as 2026-01-31T12:00:00Z",
    "boolean": "true or false",
}
_SHOWN = 80
_VALUES = 4096
"""Read in one go at most, so that a long column stands alone, and memory holds no second copy of a table."""


class BadRow(UpdraftError):
    """A row that a model cannot take.

    Args:
        reason: ``unknown_column``, ``missing_value`` or ``wrong_type``.
        index: which row, from 0.
        message: what was given, in which column.
        fix: what is wanted.
    """

    exit_code = 2

    def __init__(self, reason: str, index: int, message: str, fix: str) -> None:
        super().__init__(f"Instance {index}: {message}", fix)
        self.reason = reason


def typed(rows: Sequence[Row], columns: Sequence[Column]) -> "dict[str, pa.Array]":
    """The columns' values, null where a row has none or one of another type; other values are passed over."""
    return {name: values for name, (values, _) in _parse(rows, columns).items()}


def checked(rows: Sequence[Row], columns: Sequence[Column]) -> "dict[str, pa.Array]":
    """The columns' values, of rows that are what the model was trained on.

    Raises:
        BadRow: a row has a column that the model does not know, lacks one that may not be missing, or holds a value of
            another type; the first such row is named.
    """
    _refuse_unknown(rows, [column.name for column in columns])
    faults, found = [], _parse(rows, columns)
    for column in columns:
        values, wrong = found[column.name]
        # What is wrong is null, too.
        if values.null_count:
            missing = values.is_null().to_numpy(zero_copy_only=False) & (not column.nullable)
            faults += [(int(index), column, bool(wrong[index])) for index in np.flatnonzero(wrong | missing)[:1]]
    if faults:
        index, column, is_wrong = min(faults, key=lambda fault: fault[0])
        raise _fault(index, column, rows[index].get(column.name), is_wrong)
    return {name: values for name, (values, _) in found.items()}


def _parse(rows: Sequence[Row], columns: Sequence[Column]) -> "dict[str, tuple[pa.Array, np.ndarray]]":
    """Each column's values, and which of them were wrong.

    Columns of a type are read in one go, since a call of Arrow costs more than the few values of some rows.
    """
    # Brings pyarrow, which the endpoint of images does without.
    from tasks.runtime.rows import parse

    found, count = {}, len(rows)
    for type, names in _batches(columns, max(1, _VALUES // max(1, count))):
        values, wrong = parse([row.get(name) for name in names for row in rows], type)
        for place, name in enumerate(names):
            first = place * count
            found[name] = values.slice(first, count), wrong[first : first + count]
    return found


def _batches(columns: Sequence[Column], size: int) -> Iterator[tuple[str, list[str]]]:
    """Names of columns of one type, ``size`` at most."""
    names: dict[str, list[str]] = {}
    for column in columns:
        names.setdefault(column.type, []).append(column.name)
    return ((type, of[first : first + size]) for type, of in names.items() for first in range(0, len(of), size))


def _refuse_unknown(rows: Sequence[Row], names: Sequence[str]) -> None:
    known = set(names)
    for index, row in enumerate(rows):
        if not known.issuperset(row):
            other = _shown(min(set(row) - known))
            raise BadRow("unknown_column", index, f"there is no column {other}.", f"Known: {', '.join(names)}.")


def _fault(index: int, column: Column, value: Any, is_wrong: bool) -> BadRow:
    seen = "missing" if value is None else _shown(value)
    wanted = f"{column.name} takes {_WANTED[column.type]}{' or null' if column.nullable else ''}."
    return BadRow("wrong_type" if is_wrong else "missing_value", index, f"{column.name} is {seen}.", wanted)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
