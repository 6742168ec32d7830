"""Reading of values: one meaning for CSV text, JSON and Parquet values, alone or among others."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.runtime.rows import TYPES, parse

WRONG = object()


def read(values: Any, type: str) -> list[Any]:
    """The values as they are read, `WRONG` where they are."""
    array, wrong = parse(values, type)
    assert array.type == TYPES[type]
    assert wrong.dtype == bool
    assert len(array) == len(wrong)
    found = array.to_pylist()
    assert all(found[n] is None for n in np.flatnonzero(wrong))
    return [WRONG if bad else value for value, bad in zip(found, wrong.tolist(), strict=True)]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


CASES = {
    "number": {
        "1": 1.0, " -2.5 ": -2.5, "+.5": 0.5, "1.": 1.0, "1e3": 1000.0, "0012": 12.0, "": None, "  ": None, None: None,
        3: 3.0, 2.5: 2.5, math.nan: None, Decimal("1.25"): 1.25, 2**70: 2.0**70,
        "abc": WRONG, "1,000": WRONG, "0x10": WRONG, "1e999": WRONG, "inf": WRONG, math.inf: WRONG, "1_000": WRONG,
        True: WRONG, date(2026, 1, 1): WRONG, (1,): WRONG, b"1": WRONG, "١٢": WRONG,
    },
    "boolean": {
        "true": True, "FALSE": False, " Yes ": True, "n": False, "1": True, "0": False, "t": True, "": None, None: None,
        True: True, 0: False, "maybe": WRONG, "2": WRONG, 2: WRONG, 0.5: WRONG, utc(2026, 1, 1): WRONG,
    },
    "category": {
        "oak": "oak", " oak": " oak", "3.0": "3.0", "": None, " \t": None, None: None, "Ünïcode 🌳": "Ünïcode 🌳",
        3: "3", -2.0: "-2", 4.5: "4.5", -7: "-7", 2**70: str(2**70), True: "true", False: "false", math.nan: None,
        date(2026, 1, 2): "2026-01-02", math.inf: WRONG, (1, 2): WRONG, "half \ud800": WRONG,
    },
    "time": {
        "2026-01-02": utc(2026, 1, 2), "2026-01-02T03:04": utc(2026, 1, 2, 3, 4),
        "2026-01-02 03:04:05": utc(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.25Z": utc(2026, 1, 2, 3, 4, 5, 250_000),
        "2026-01-02T03:04:05.123456789+02:00": utc(2026, 1, 2, 1, 4, 5, 123_456),
        "2026-01-02T03:04-0530": utc(2026, 1, 2, 8, 34), "2026-01-02T03:04+02": utc(2026, 1, 2, 1, 4),
        "2024-02-29": utc(2024, 2, 29), "2000-02-29": utc(2000, 2, 29), "": None, None: None,
        date(2026, 1, 2): utc(2026, 1, 2), utc(2026, 1, 2): utc(2026, 1, 2),
        datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))): utc(2026, 1, 2, 1),
        "2026-02-29": WRONG, "1900-02-29": WRONG, "2026-13-01": WRONG, "2026-04-31": WRONG, "2026-01-02T24:00": WRONG,
        "2026-01-02T03:60": WRONG, "0000-01-01": WRONG, "9999-12-31T23:00-05:00": WRONG,
        "0001-01-01T00:00+01:00": WRONG,
        "2026": WRONG, "2026-1-2": WRONG, "yesterday": WRONG, 20260102: WRONG, True: WRONG,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("type", "given", "meant"), [(t, *case) for t, cases in CASES.items() for case in cases.items()]
)
def test_a_value_is_read_as(type: str, given: Any, meant: Any) -> None:
    assert read([given], type) == [meant]


@pytest.mark.parametrize("type", CASES)
def test_neighbours_of_other_kinds_change_nothing(type: str) -> None:
    cases = CASES[type]
    assert read(list(cases), type) == list(cases.values())


def test_text_is_read_like_categories() -> None:
    cases = CASES["category"]
    assert read(list(cases), "text") == list(cases.values())


def test_no_rows_and_only_missing_ones() -> None:
    for type in TYPES:
        assert read([], type) == []
        assert read(pa.nulls(2), type) == [None, None]


@pytest.mark.parametrize(
    "form", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_arrows_ways_to_hold_text_are_one(form: pa.DataType) -> None:
    values = pa.array(["3", None, "x"]).cast(form)
    assert read(values, "number") == [3.0, None, WRONG]
    assert read(pa.chunked_array([values[:1], values[1:]]), "category") == ["3", None, "x"]


def test_parquets_number_types() -> None:
    for form in (pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(10, 2)):
        assert read(pa.array([3], pa.int8()).cast(form), "number") == [3.0]
    assert read(pa.array([7, None], pa.uint8()), "category") == ["7", None]
    assert read(pa.array([{"a": 1}, None]), "number") == [WRONG, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquets_times(unit: str) -> None:
    moment = utc(2026, 1, 2, 3, 4, 5)
    assert read(pa.array([moment], pa.timestamp(unit, "Europe/Berlin")), "time") == [moment]
    assert read(pa.array([moment.replace(tzinfo=None)], pa.timestamp(unit)), "time") == [moment]


def test_times_that_no_calendar_has_are_wrong() -> None:
    assert read(pa.array([2**60, -(2**60), None], pa.timestamp("s")), "time") == [WRONG, WRONG, None]
    assert read(pa.array([2**30], pa.date32()), "time") == [WRONG]


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)
TIMES = (
    st.datetimes(timezones=st.just(UTC)).map(str) | st.dates().map(str) | st.from_regex(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?")
)


@given(values=st.lists(JSON | TIMES), type=st.sampled_from(sorted(TYPES)))
def test_a_value_alone_gives_what_it_gives_among_others(values: list[Any], type: str) -> None:
    assert read(values, type) == [read([value], type)[0] for value in values]


@given(values=st.lists(TIMES | st.floats().map(str) | st.text(), min_size=1), type=st.sampled_from(sorted(TYPES)))
def test_text_in_a_list_and_in_an_array_is_one(values: list[str], type: str) -> None:
    whole = [value for value in values if value.isprintable()]
    assert read(whole, type) == read(pa.array(whole, pa.string()), type)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_being_written_down(value: float) -> None:
    assert read([repr(value)], "number") == [value] == read([value], "number")


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_being_written_down(moment: datetime) -> None:
    assert read([moment.isoformat(), str(moment.replace(tzinfo=None))], "time") == [moment, moment]


@given(st.integers(1, 9999), st.integers(1, 12), st.integers(1, 31))
def test_the_calendar_decides_which_dates_there_are(year: int, month: int, day: int) -> None:
    try:
        meant: Any = utc(year, month, day)
    except ValueError:
        meant = WRONG
    assert read([f"{year:04}-{month:02}-{day:02}"], "time") == [meant]
