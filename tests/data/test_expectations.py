"""Suites: what a project's own expectations may say, what is said about one that cannot be used, how they are kept."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.core.spec import Expectation
from tasks.data.expectations import suite_json
from tests.data.partition import Partition, table_spec

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    ("type", "kwargs", "problem", "fix"),
    [
        ("expect_column_values_to_be_betwixt", {"column": "x"}, "no such expectation", "to_be_between"),
        ("expect_column_values_to_be_null", {"column": "y"}, "no column 'y'", "Columns: row_id, entity, "),
        ("expect_column_values_to_be_between", {"column": "x", "least": 1}, "extra fields not permitted", "arguments"),
        (
            "expect_column_values_to_be_between",
            {"column": "x", "min_value": 3, "max_value": 1},
            "greater than",
            "argum",
        ),
        (
            "expect_column_values_to_be_between",
            {"column": "event_time", "min_value": "noon"},
            "no ISO 8601",
            "Write it",
        ),
        ("expect_column_values_to_match_regex", {"column": "label", "regex": "("}, "cannot be evaluated", "arguments"),
        ("expect_column_mean_to_be_between", {"column": "label", "min_value": 0}, "cannot be evaluated", "arguments"),
    ],
)
def test_an_expectation_that_cannot_be_used_is_named_with_file_and_fix(
    type: str, kwargs: Mapping[str, Any], problem: str, fix: str
) -> None:
    partition = Partition(table_spec({}, expectations=[{"type": type, "kwargs": kwargs}]))
    with pytest.raises(BadInput) as caught:
        partition.validate([{}, {}])
    assert f"rows.expectations.json: {type}" in caught.value.message
    assert problem in caught.value.message
    assert fix in caught.value.fix


def test_a_suite_comes_back_as_it_was_and_does_not_depend_on_the_order_of_arguments() -> None:
    suite = load_project("digits").validation.expectations
    text = suite_json("digits", suite)
    assert text == (settings().projects / "digits.expectations.json").read_text(encoding="utf-8")
    turned = [Expectation(type=item.type, kwargs=dict(reversed(item.kwargs.items())), meta=item.meta) for item in suite]
    assert suite_json("digits", turned) == text
    assert [Expectation.model_validate(item) for item in json.loads(text)["expectations"]] == list(suite)
