"""Expectations as SQL: for each row, whether it is an unexpected one, exactly as Great Expectations tells it.

What is not translated here (another expectation, a condition on rows, an argument or a column of another kind) is no
loss: Great Expectations evaluates it itself, on the whole table, and slower.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from tasks.data.expectations import Kind


@dataclass(frozen=True)
class Field:
    """A column in SQL.

    Attributes:
        sql: its identifier.
        kind: what it holds.
        floating: whether it can hold infinities.
    """

    sql: str
    kind: Kind
    floating: bool = False


class _Untranslated(Exception):
    """This expectation is Great Expectations' own."""


def condition(type: str, kwargs: Mapping[str, Any], fields: Mapping[str, Field]) -> str | None:
    """SQL that is true of the rows that break the expectation, false or null of all others; None: not translated."""
    if type not in _CONDITIONS:
        return None
    allowed, translate = _CONDITIONS[type]
    arguments = {key: value for key, value in kwargs.items() if key != "mostly"}
    if not arguments.keys() <= allowed | {"column", "column_A", "column_B"}:
        return None
    try:
        columns = [fields[kwargs[key]] for key in ("column", "column_A", "column_B") if key in kwargs]
        return translate(*columns, kwargs)
    except (_Untranslated, KeyError, TypeError):
        return None


def keys(type: str, kwargs: Mapping[str, Any], fields: Mapping[str, Field]) -> tuple[list[str], str] | None:
    """What must be unique, and SQL that is true of the rows it is asked of; None: not translated."""
    allowed = {"column", "mostly", "column_list", "ignore_row_if"}
    join = {"all_values_are_missing": " OR ", "any_value_is_missing": " AND ", "never": None}
    ignored = kwargs.get("ignore_row_if", "all_values_are_missing")
    if not kwargs.keys() <= allowed or ignored not in join:
        return None
    columns = [fields[name].sql for name in (kwargs.get("column_list") or [kwargs["column"]])]
    given = join[ignored]
    return columns, given.join(f"{column} IS NOT NULL" for column in columns) if given else "TRUE"


def matches(values: pa.Array, patterns: pa.Array) -> pa.Array:
    """Whether Python's ``re`` finds the pattern; DuckDB's own expressions differ in classes, anchors, look-arounds."""
    found = re.compile(patterns[0].as_py() if len(patterns) else "").search
    return pa.array([found(value) is not None for value in values.to_pylist()], pa.bool_())


def text(value: str) -> str:
    """A string as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def _null(column: Field, _: Mapping[str, Any]) -> str:
    return f"{column.sql} IS NOT NULL"


def _not_null(column: Field, _: Mapping[str, Any]) -> str:
    return f"{column.sql} IS NULL"


def _in_set(column: Field, kwargs: Mapping[str, Any]) -> str:
    return f"{column.sql} NOT IN ({_set(column, kwargs)})"


def _not_in_set(column: Field, kwargs: Mapping[str, Any]) -> str:
    return f"{column.sql} IN ({_set(column, kwargs)})"


def _between(column: Field, kwargs: Mapping[str, Any]) -> str:
    return _outside(column.sql, column.kind, kwargs)


def _lengths(column: Field, kwargs: Mapping[str, Any]) -> str:
    return _outside(f"length({_text_only(column)})", "number", kwargs)


def _matching(column: Field, kwargs: Mapping[str, Any]) -> str:
    return f"NOT {_found(column, kwargs['regex'])}"


def _not_matching(column: Field, kwargs: Mapping[str, Any]) -> str:
    return _found(column, kwargs["regex"])


def _greater(a: Field, b: Field, kwargs: Mapping[str, Any]) -> str:
    if a.kind != b.kind or a.kind not in ("number", "time"):
        raise _Untranslated
    asked = {
        "both_values_are_missing": f"({a.sql} IS NOT NULL OR {b.sql} IS NOT NULL)",
        "either_value_is_missing": f"({a.sql} IS NOT NULL AND {b.sql} IS NOT NULL)",
        "neither": "TRUE",
    }[kwargs.get("ignore_row_if", "both_values_are_missing")]
    sign = ">=" if kwargs.get("or_equal") else ">"
    return f"{asked} AND NOT coalesce({a.sql} {sign} {b.sql}, FALSE)"


def _of_type(column: Field, kwargs: Mapping[str, Any]) -> str:
    """Ingestion has typed the columns: all values are of the type, or Great Expectations says that none is."""
    if kwargs["type_"] not in _NAMES[column.kind]:
        raise _Untranslated
    return "FALSE"


_BOUNDS = frozenset({"min_value", "max_value", "strict_min", "strict_max"})

_CONDITIONS: Mapping[str, tuple[frozenset[str], Callable[..., str]]] = {
    "expect_column_values_to_be_null": (frozenset(), _null),
    "expect_column_values_to_not_be_null": (frozenset(), _not_null),
    "expect_column_values_to_be_in_set": (frozenset({"value_set"}), _in_set),
    "expect_column_values_to_not_be_in_set": (frozenset({"value_set"}), _not_in_set),
    "expect_column_values_to_be_between": (_BOUNDS, _between),
    "expect_column_value_lengths_to_be_between": (_BOUNDS, _lengths),
    "expect_column_values_to_match_regex": (frozenset({"regex"}), _matching),
    "expect_column_values_to_not_match_regex": (frozenset({"regex"}), _not_matching),
    "expect_column_pair_values_a_to_be_greater_than_b": (frozenset({"or_equal", "ignore_row_if"}), _greater),
    "expect_column_values_to_be_of_type": (frozenset({"type_"}), _of_type),
}

_PLAIN = re.compile(
    r"""(?: (?: [\w\ @%:;,/<>=!"'`-]                      # a character
              | \\[.+*?()\[\]{}^$|\\/@-] | \\[dws] | \.     # one that is escaped, a kind of character, or any
              | \[\^?(?:[\w\ @.%:;,/+*=!?"'`()<>-]|\\[].\\dws-])+\] )
            (?: [*+?]\?? | \{\d\d?(?:,\d?\d?)?\} )?         # how often
          | \^ | \$ | \| | \((?:\?:)? | \)[*+?]?\?? )*""",
    re.VERBOSE | re.ASCII,
)
"""Patterns that DuckDB and Python read alike, as long as the text is printable ASCII."""

_NAMES: Mapping[Kind, Sequence[str]] = {
    "number": (),
    "text": ("str",),
    "boolean": ("bool",),
    "time": ("Timestamp",),
}


def _outside(value: str, kind: Kind, kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if (low is None and high is None) or kind not in ("number", "time"):
        raise _Untranslated
    limits = [] if low is None else [f"{value} {'<=' if kwargs.get('strict_min') else '<'} {_literal(kind, low)}"]
    if high is not None:
        limits.append(f"{value} {'>=' if kwargs.get('strict_max') else '>'} {_literal(kind, high)}")
    return f"({' OR '.join(limits)})"


def _set(column: Field, kwargs: Mapping[str, Any]) -> str:
    values = [value for value in kwargs["value_set"] if value is not None]
    if not values or column.kind == "time":
        raise _Untranslated
    return ", ".join(_literal(column.kind, value) for value in values)


def _found(column: Field, pattern: str) -> str:
    value, literal = _text_only(column), _literal("text", pattern)
    try:
        re.compile(pattern)
    except re.error:
        raise _Untranslated from None
    if not _PLAIN.fullmatch(pattern):
        return f"matches({value}, {literal})"
    return (
        f"CASE WHEN regexp_full_match({value}, '[ -~]*') THEN regexp_matches({value}, {literal})"
        f" ELSE matches({value}, {literal}) END"
    )


def _text_only(column: Field) -> str:
    if column.kind != "text":
        raise _Untranslated
    return column.sql


def _literal(kind: Kind, value: Any) -> str:
    if kind == "text" and isinstance(value, str) and "\0" not in value:
        return text(value)
    if kind == "boolean" and isinstance(value, bool):
        return str(value)
    if kind == "time" and isinstance(value, datetime):
        return f"TIMESTAMPTZ '{value.isoformat()}'"
    # Beyond 2**53 not every integer is a double, and the engines round differently.
    exact = isinstance(value, float) or (isinstance(value, int) and abs(value) <= 2**53)
    if kind == "number" and not isinstance(value, bool) and exact and math.isfinite(value):
        return f"'{value!r}'::DOUBLE"
    raise _Untranslated
