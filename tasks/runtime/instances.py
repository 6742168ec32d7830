"""Rows of a table as they are sent one by one: checked against the columns that a model was trained on, then typed."""

from collections.abc import Mapping, Sequence
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
    return {column.name: _parse(rows, column)[0] for column in columns}


def checked(rows: Sequence[Row], columns: Sequence[Column]) -> "dict[str, pa.Array]":
    """The columns' values, of rows that are what the model was trained on.

    Raises:
        BadRow: a row has a column that the model does not know, lacks one that may not be missing, or holds a value of
            another type; the first such row is named.
    """
    known = [column.name for column in columns]
    for index, row in enumerate(rows):
        _refuse_unknown(row, index, known)
    faults, found = [], {}
    for column in columns:
        found[column.name], wrong = _parse(rows, column)
        missing = found[column.name].is_null().to_numpy(zero_copy_only=False) & (not column.nullable)
        faults += [(int(index), column, bool(wrong[index])) for index in np.flatnonzero(wrong | missing)[:1]]
    if faults:
        index, column, is_wrong = min(faults, key=lambda fault: fault[0])
        raise _fault(index, column, rows[index].get(column.name), is_wrong)
    return found


def _parse(rows: Sequence[Row], column: Column) -> "tuple[pa.Array, np.ndarray]":
    # Brings pyarrow, which the endpoint of images does without.
    from tasks.runtime.rows import parse

    return parse([row.get(column.name) for row in rows], column.type)


def _refuse_unknown(row: Row, index: int, known: Sequence[str]) -> None:
    other = sorted(set(row) - set(known))
    if other:
        raise BadRow("unknown_column", index, f"there is no column {_shown(other[0])}.", f"Known: {', '.join(known)}.")


def _fault(index: int, column: Column, value: Any, is_wrong: bool) -> BadRow:
    seen = "missing" if value is None else _shown(value)
    wanted = f"{column.name} takes {_WANTED[column.type]}{' or null' if column.nullable else ''}."
    return BadRow("wrong_type" if is_wrong else "missing_value", index, f"{column.name} is {seen}.", wanted)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
