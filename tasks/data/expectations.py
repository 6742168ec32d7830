"""The rules that a clean row keeps, in Great Expectations' terms: those that always hold, and the project's suite."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from tasks.core.config import expectations_path
from tasks.core.errors import BadInput
from tasks.core.spec import Expectation, Project

Kind = Literal["number", "text", "boolean", "time"]
"""What the values of a column can be compared with."""

ADDED, NEAR = "added_column", "near_duplicate_of"
"""Columns that validation makes itself: the column that the spec does not know; the row that an image looks like."""

HIDDEN = frozenset({"image_hash"})
"""Columns that no expectation can speak of: 64-bit hashes do not survive Great Expectations' conversion to floats."""

UNIQUE = frozenset({"expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"})
"""Expectations that the first sound row of each value keeps and the others break."""


@dataclass(frozen=True)
class Rule:
    """One expectation of a partition's rows.

    Attributes:
        number: its place among the rules, the worst first.
        reason: the code that its rows are counted by; of the rule about ``defect``, the row's own code counts.
        own: whether it stands in the project's suite.
    """

    number: int
    reason: str
    type: str
    kwargs: Mapping[str, Any]
    own: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it speaks of."""
        return columns_of(self.type, self.kwargs)

    @property
    def name(self) -> str:
        """``expect_column_values_to_be_unique(digest)``."""
        return f"{self.type}({', '.join(self.columns)})"


def kinds(schema: pa.Schema) -> dict[str, Kind]:
    """The columns that expectations can speak of, and what they hold."""
    return {field.name: _kind(field.type) for field in schema if field.name not in HIDDEN}


def rules_for(spec: Project, day: date, columns: Mapping[str, Kind]) -> list[Rule]:
    """All rules for one partition, the worst first: defects, nulls, labels, times, values, last what must be unique.

    Raises:
        BadInput: an expectation of the project's suite names a column that is not there, or a time that is none.
    """
    own = [(_own_reason(item), item.type, _own_kwargs(spec, item, columns)) for item in spec.validation.expectations]
    values, unique = ([item for item in own if (item[1] in UNIQUE) == wanted] for wanted in (False, True))
    always, always_unique = list(_values(spec, day)), list(_unique(spec))
    ordered = [*((item, False) for item in always), *((item, True) for item in values)]
    ordered += [*((item, False) for item in always_unique), *((item, True) for item in unique)]
    return [Rule(number, *item, own=is_own) for number, (item, is_own) in enumerate(ordered)]


def suite_json(name: str, expectations: Iterable[Expectation]) -> str:
    """The text of ``projects/<name>.expectations.json``: no ids, arguments sorted, for small diffs.

    Expectations stand in the order given, which is the order in which reasons are told.
    """
    rules = [
        {"type": item.type, "kwargs": dict(sorted(item.kwargs.items())), "meta": dict(sorted(item.meta.items()))}
        for item in expectations
    ]
    return json.dumps({"name": name, "expectations": rules}, indent=2, ensure_ascii=False) + "\n"


def columns_of(type: str, kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that an expectation's arguments name."""
    named = [kwargs[key] for key in ("column", "column_A", "column_B") if kwargs.get(key) is not None]
    return (*named, *(kwargs.get("column_list") or ()))


def _values(spec: Project, day: date) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What holds of every row by itself."""
    start = datetime.combine(day, datetime.min.time(), UTC)
    yield "defect", "expect_column_values_to_be_null", {"column": "defect"}
    yield "column_added", "expect_column_values_to_be_null", {"column": ADDED}
    needed = [column.name for column in spec.source.columns if not column.nullable]
    for column in ("entity", "label", "event_time", *needed):
        yield f"null_{column}", "expect_column_values_to_not_be_null", {"column": column}
    if spec.classes:
        known = {"column": "label", "value_set": list(spec.classes)}
        yield "unknown_label", "expect_column_values_to_be_in_set", known
    between, late = "expect_column_values_to_be_between", start - timedelta(days=spec.validation.late_days)
    end = {"max_value": start + timedelta(days=1), "strict_max": True}
    yield "future_event_time", between, {"column": "event_time", **end}
    times = {"column_A": "known_time", "column_B": "event_time", "ignore_row_if": "either_value_is_missing"}
    yield "future_event_time", "expect_column_pair_values_a_to_be_greater_than_b", {**times, "or_equal": True}
    if spec.source.partitions != "single":
        yield "late_event", between, {"column": "event_time", "min_value": late}


def _unique(spec: Project) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What holds of the rows together."""
    repeated = "duplicate_image" if spec.source.has_images else "duplicate_row"
    yield repeated, "expect_column_values_to_be_unique", {"column": "digest"}
    if spec.validation.near_duplicate_bits is not None:
        yield "near_duplicate", "expect_column_values_to_be_null", {"column": NEAR}
    key = {"column_list": ["entity", "event_time"], "ignore_row_if": "any_value_is_missing"}
    yield "duplicate_entity", "expect_compound_columns_to_be_unique", key


def _own_reason(item: Expectation) -> str:
    what = item.type.removeprefix("expect_").removeprefix("column_values_to_").removeprefix("be_")
    return str(item.meta.get("reason") or "_".join((what, *columns_of(item.type, item.kwargs))))


def _own_kwargs(spec: Project, item: Expectation, columns: Mapping[str, Kind]) -> dict[str, Any]:
    """The arguments as both engines take them: without nulls, times with their zone."""
    kwargs = {key: value for key, value in item.kwargs.items() if value is not None}
    missing = [column for column in columns_of(item.type, kwargs) if column not in columns]
    if missing:
        raise bad_expectation(
            spec, item.type, kwargs, f"there is no column {missing[0]!r}", f"Columns: {_listed(columns)}."
        )
    if columns.get(kwargs.get("column", "")) == "time":
        for key in {"min_value", "max_value"} & kwargs.keys():
            kwargs[key] = _time(spec, item, kwargs[key])
    return kwargs


def _time(spec: Project, item: Expectation, value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        fix = "Write it as 2026-01-31T12:00:00+00:00."
        raise bad_expectation(spec, item.type, item.kwargs, f"{value!r} is no ISO 8601 time", fix) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def bad_expectation(spec: Project, type: str, kwargs: Mapping[str, Any], problem: str, fix: str) -> BadInput:
    """The error about an expectation of the project's suite; names the file."""
    where = f"{expectations_path(spec.name)}: {type}({', '.join(columns_of(type, kwargs))})"
    return BadInput(f"{where}: {problem}.", fix)


def _listed(columns: Mapping[str, Kind]) -> str:
    return ", ".join(column for column in columns if column not in ("defect", "detail"))


def _kind(type: pa.DataType) -> Kind:
    if pa.types.is_boolean(type):
        return "boolean"
    if pa.types.is_timestamp(type):
        return "time"
    return "text" if pa.types.is_string(type) or pa.types.is_large_string(type) else "number"
