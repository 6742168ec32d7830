"""Rows as a broken source or a changed world would send them: values gone, categories that are other ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tasks.core.spec import Column

SHARE = 0.3
"""Of a column's values that are changed, and of a text's words that are left out."""

UNSEEN = "(unseen)"
"""A category that no training row has."""

_SEED = 20190112

Row = Mapping[str, Any]


def shift(test: str, rows: Sequence[Row], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Disturbs rows of a table; each column's share of them is drawn on its own.

    ``missing_values``: columns that may be missing are, and texts lose words, though never all. ``category_shift``:
    half of the changed categories are those of another row, half are unseen ones; booleans are another row's.

    Args:
        rows: column to value, as JSON has it.
        columns: the source's.

    Returns:
        As many rows; the same for the same ones, always.
    """
    random = np.random.default_rng([_SEED, list(_SHIFTS).index(test)])
    found = [dict(row) for row in rows]
    for column in columns:
        # Drawn for every column, so that one column more or less leaves the others as they are.
        own = np.random.default_rng(random.integers(2**63))
        _SHIFTS[test](found, rows, column, own)
    return found


def _lose(found: list[dict[str, Any]], rows: Sequence[Row], column: Column, random: np.random.Generator) -> None:
    if column.type == "text":
        for row in found:
            if isinstance(row.get(column.name), str):
                row[column.name] = _without_words(row[column.name], random)
    elif column.nullable:
        for number in np.flatnonzero(random.random(len(rows)) < SHARE):
            found[number][column.name] = None


def _without_words(text: str, random: np.random.Generator) -> str:
    words = text.split()
    kept = [word for word, drawn in zip(words, random.random(len(words)), strict=True) if drawn >= SHARE]
    return " ".join(kept or words[:1])


def _change(found: list[dict[str, Any]], rows: Sequence[Row], column: Column, random: np.random.Generator) -> None:
    if column.type not in ("category", "boolean"):
        return
    changed = np.flatnonzero(random.random(len(rows)) < SHARE)
    others, unseen = random.integers(len(rows), size=len(changed)), random.random(len(changed)) < 0.5
    for number, other, is_unseen in zip(changed, others, unseen, strict=True):
        value = rows[other].get(column.name)
        found[number][column.name] = UNSEEN if is_unseen and column.type == "category" else value


_SHIFTS: Mapping[str, Callable[[list[dict[str, Any]], Sequence[Row], Column, np.random.Generator], None]] = {
    "missing_values": _lose,
    "category_shift": _change,
}
