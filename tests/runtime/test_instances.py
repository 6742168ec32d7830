"""Rows of a table as they are sent: columns read together, and only what the model was trained on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.spec import Column
from tasks.runtime.instances import BadRow, checked, typed
from tasks.runtime.rows import TYPES, parse

COLUMNS = tuple(Column(name=f"{type} {n}", type=type, nullable=n > 0) for n in range(3) for type in TYPES)  # type: ignore[arg-type]
GOOD = {
    "number": st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    "category": st.integers() | st.booleans() | st.text(min_size=1).map("x".__add__),
    "text": st.text(min_size=1).map("x".__add__),
    "time": st.datetimes().map(str),
    "boolean": st.booleans() | st.sampled_from(["yes", "0"]),
}
ANY = st.none() | st.lists(st.integers(), max_size=1) | st.one_of(*GOOD.values())
RIGHT = st.fixed_dictionaries({column.name: GOOD[column.type] for column in COLUMNS})
MIXED = st.dictionaries(st.sampled_from([column.name for column in COLUMNS]), ANY)


@given(st.lists(MIXED, max_size=4))
def test_a_column_is_read_as_if_it_stood_alone(rows: list[Mapping[str, Any]]) -> None:
    found = typed(rows, COLUMNS)
    for column in COLUMNS:
        alone, _ = parse([row.get(column.name) for row in rows], column.type)
        assert found[column.name].type == TYPES[column.type]
        assert found[column.name].to_pylist() == alone.to_pylist()


@given(st.lists(RIGHT, min_size=1, max_size=3), st.data())
def test_the_first_row_that_cannot_be_taken_is_named(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    assert {name: values.to_pylist() for name, values in checked(rows, COLUMNS).items()} == {
        name: values.to_pylist() for name, values in typed(rows, COLUMNS).items()
    }
    faults = data.draw(st.dictionaries(st.integers(0, len(rows) - 1), st.sampled_from(COLUMNS), min_size=1))
    wrong = data.draw(st.booleans())
    for index, column in faults.items():
        rows[index][column.name] = [1] if wrong or column.nullable else None
    first = min(faults)
    column = faults[first]
    with pytest.raises(BadRow) as raised:
        checked(rows, COLUMNS)
    assert raised.value.reason == ("wrong_type" if wrong or column.nullable else "missing_value")
    assert raised.value.message.startswith(f"Instance {first}: {column.name} is ")


def test_long_columns_stay_apart() -> None:
    count, columns = 3000, COLUMNS[::5]
    rows: list[dict[str, Any]] = [
        {column.name: row * 10 + place for place, column in enumerate(columns)} for row in range(count)
    ]
    found = checked(rows, columns)
    for place, column in enumerate(columns):
        np.testing.assert_array_equal(found[column.name], np.arange(count) * 10 + place)
    rows[2500][columns[2].name] = "many"
    with pytest.raises(BadRow, match="Instance 2500: number 2 is 'many'"):
        checked(rows, columns)


def test_a_column_that_is_not_known_is_named() -> None:
    with pytest.raises(BadRow, match="Instance 1: there is no column 'hue'"):
        checked([{}, {"size": 1, "hue": 2}], COLUMNS)
