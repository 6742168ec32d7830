"""DuckDB's verdicts are those of plain Great Expectations, for every kind of rule and any table."""

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tasks.data.checkpoint import run_checkpoint
from tasks.data.conditions import Field, condition
from tasks.data.expectations import ADDED, NEAR, UNIQUE, kinds, rules_for
from tasks.data.rules import Verdicts
from tests.data.partition import DAY, NOON, image_spec, table_of, table_spec

COLUMNS = {"n": "number", "m": "number", "t": "text", "b": "boolean", "w": "time"}

NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 2.5, -3.0, 1e300, math.inf, -math.inf, math.nan, None])
TEXTS = st.sampled_from(
    ["", "a", "A", "ab", "a b", "x1@y.de", "\n", "a\n", "é", "e\u0301", "\U0001f600", "9", "٣", None]
)
TIMES = st.sampled_from([NOON, NOON + timedelta(microseconds=1), datetime(1, 1, 1, tzinfo=UTC), None])
ROW = st.fixed_dictionaries(
    {
        "entity": st.sampled_from(["e", "f", None]),
        "label": st.sampled_from(["yes", "no", "?", None]),
        "digest": st.sampled_from(["d1", "d2", "d3", None]),
        "event_time": TIMES,
        "known_time": TIMES,
        "defect": st.sampled_from([None, None, "malformed_row"]),
        **{"n": NUMBERS, "m": NUMBERS, "x": NUMBERS, "t": TEXTS, "b": st.booleans() | st.none(), "w": TIMES},
    }
)

PATTERNS = [
    r"^\w+$",
    r"\d",
    r"a$",
    r"^a.b$",
    r"^[^@\s]+@[^@\s]+\.(de|com)$",
    r"(?i)A",
    r"^$",
    r"[a-z]{2}",
    r"(?<!a)b",
    r"\s",
]
BOUNDS = {"strict_min": st.booleans(), "strict_max": st.booleans()}
MOSTLY = st.sampled_from([{}, {"mostly": 0.5}])


def expectation(name: str, **kwargs: Any) -> st.SearchStrategy[dict[str, Any]]:
    """One expectation; arguments may be strategies."""
    drawn = {key: value if isinstance(value, st.SearchStrategy) else st.just(value) for key, value in kwargs.items()}
    return st.builds(lambda values, some: {"type": name, "kwargs": values | some}, st.fixed_dictionaries(drawn), MOSTLY)


ANY = st.sampled_from(sorted(COLUMNS))
NUMBER, LIMIT = st.sampled_from(["n", "m"]), st.sampled_from([-3, 0, 1.0, 2.5])
EXPECTATION = st.one_of(
    expectation("expect_column_values_to_be_null", column=ANY),
    expectation("expect_column_values_to_not_be_null", column=ANY),
    expectation("expect_column_values_to_be_in_set", column="t", value_set=st.sampled_from([["a", "ab"], ["é", None]])),
    expectation("expect_column_values_to_be_in_set", column=NUMBER, value_set=st.sampled_from([[0, 2.5], [1.0]])),
    expectation("expect_column_values_to_be_in_set", column="b", value_set=[True]),
    expectation("expect_column_values_to_not_be_in_set", column="t", value_set=["a", "\n"]),
    expectation("expect_column_values_to_not_be_in_set", column=NUMBER, value_set=[1, -3]),
    expectation("expect_column_values_to_be_between", column=NUMBER, min_value=LIMIT, **BOUNDS),
    expectation("expect_column_values_to_be_between", column=NUMBER, min_value=-3, max_value=2.5, **BOUNDS),
    expectation("expect_column_values_to_be_between", column="w", max_value="2026-01-01T12:00:00", **BOUNDS),
    expectation("expect_column_value_lengths_to_be_between", column="t", min_value=1, max_value=2, **BOUNDS),
    expectation("expect_column_values_to_match_regex", column="t", regex=st.sampled_from(PATTERNS)),
    expectation("expect_column_values_to_not_match_regex", column="t", regex=st.sampled_from(PATTERNS)),
    expectation("expect_column_values_to_be_of_type", column="t", type_="str"),
    expectation("expect_column_values_to_be_unique", column=ANY),
    expectation(
        "expect_compound_columns_to_be_unique",
        column_list=st.lists(ANY, min_size=2, max_size=3, unique=True),
        ignore_row_if=st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"]),
    ),
    expectation(
        "expect_column_pair_values_a_to_be_greater_than_b",
        column_A="n",
        column_B="m",
        or_equal=st.booleans(),
        ignore_row_if=st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"]),
    ),
    # Not translated: Great Expectations evaluates them itself.
    expectation("expect_column_values_to_be_in_set", column="n", value_set=["a", 1]),
    expectation("expect_column_pair_values_to_be_equal", column_A="n", column_B="m"),
    expectation("expect_column_values_to_match_regex_list", column="t", regex_list=["a", "é"]),
)


# Great Expectations takes half a second for an example: shrinking one would take minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.mark.slow
@settings(max_examples=40, phases=PHASES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=12), suite=st.lists(EXPECTATION, min_size=1, max_size=5))
def test_every_rule_finds_the_rows_that_great_expectations_finds(
    tmp_path: Path, rows: list[dict[str, Any]], suite: list[dict[str, Any]]
) -> None:
    spec = table_spec(COLUMNS, nullable=False, expectations=suite)
    table = table_of(spec, rows)
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path)
    rules = rules_for(spec, date.fromisoformat(DAY), kinds(table.schema))
    frame = table.append_column(ADDED, pa.nulls(len(rows), pa.string())).to_pandas()
    findings, _ = run_checkpoint(spec, rules, frame)
    found = {finding.rule.number: finding.rows for finding in findings}
    with Verdicts(path, rules, None, tmp_path) as verdicts:
        verdicts.scan()
        for rule in verdicts.foreign:
            verdicts.add(rule, found[rule.number])
        verdicts.deduplicate(None)
        every = np.arange(len(rows))
        assert {rule.number: verdicts.expected(rule, every) for rule in rules} == found
        verdicts.conclude()
        assert np.flatnonzero(verdicts.bad()).tolist() == sorted(_quarantined(table, rules, found))


def _quarantined(table: pa.Table, rules: list, found: dict[int, list[int]]) -> set[int]:
    """What a person would do with Great Expectations' findings, row by row."""
    bad: set[int] = set()
    frame = table.to_pandas()
    for rule in rules:
        rows = found[rule.number]
        if rule.type in UNIQUE:
            sound = frame.loc[[row for row in rows if row not in bad], list(rule.columns)]
            rows = sound.index[sound.duplicated()].tolist()
        bad.update(rows)
    return bad


@pytest.mark.parametrize(
    ("type", "kwargs"),
    [
        ("expect_column_mean_to_be_between", {"column": "n", "min_value": 0}),
        ("expect_column_values_to_be_between", {"column": "n", "min_value": 0, "row_condition": "n > 1"}),
        ("expect_column_values_to_be_between", {"column": "n", "min_value": 2**53 + 1}),
        ("expect_column_values_to_be_between", {"column": "n", "min_value": math.nan}),
        ("expect_column_values_to_be_between", {"column": "n", "min_value": "0"}),
        ("expect_column_values_to_be_between", {"column": "n"}),
        ("expect_column_values_to_be_in_set", {"column": "t", "value_set": ["a\0"]}),
        ("expect_column_values_to_match_regex", {"column": "n", "regex": "1"}),
        ("expect_column_values_to_match_regex", {"column": "t", "regex": "("}),
    ],
)
def test_what_might_differ_is_left_to_great_expectations(type: str, kwargs: dict[str, Any]) -> None:
    fields = {"n": Field("n", "number"), "t": Field("t", "text")}
    assert condition(type, kwargs, fields) is None


def test_a_pattern_may_be_asked_of_a_column_without_values(tmp_path: Path) -> None:
    suite = [{"type": "expect_column_values_to_match_regex", "kwargs": {"column": "t", "regex": "(?i)a"}}]
    spec = table_spec({"t": "text"}, expectations=suite)
    table = table_of(spec, [{}, {}])
    pq.write_table(table, tmp_path / "rows.parquet")
    rules = rules_for(spec, date.fromisoformat(DAY), kinds(table.schema))
    with Verdicts(tmp_path / "rows.parquet", rules, None, tmp_path) as verdicts:
        verdicts.scan()
        assert verdicts.conclude() == {}


def test_near_duplicates_link_sound_rows_alone(tmp_path: Path) -> None:
    spec = image_spec(near_duplicate_bits=1)
    hashes = [0b000, 0b001, 0b011, -1, -1, None, None]
    rows = [{"image_hash": value, "label": "?" if row == 1 else "yes"} for row, value in enumerate(hashes)]
    table = table_of(spec, rows)
    pq.write_table(table, tmp_path / "rows.parquet")
    rules = rules_for(spec, date.fromisoformat(DAY), kinds(table.schema))
    with Verdicts(tmp_path / "rows.parquet", rules, None, tmp_path) as verdicts:
        verdicts.scan()
        verdicts.deduplicate(1)
        assert verdicts.near(np.arange(7)) == {4: 3}
        assert [rule.columns for rule in verdicts.foreign] == []
        assert (NEAR,) in [rule.columns for rule in rules]


def test_a_sample_has_rows_of_every_broken_rule_with_their_partners_and_others(tmp_path: Path) -> None:
    spec = table_spec({})
    rows = [{"digest": "same"} if row in (5, 900) else {"label": "?"} if row > 990 else {} for row in range(1000)]
    table = table_of(spec, rows)
    pq.write_table(table, tmp_path / "rows.parquet")
    rules = rules_for(spec, date.fromisoformat(DAY), kinds(table.schema))
    with Verdicts(tmp_path / "rows.parquet", rules, None, tmp_path) as verdicts:
        verdicts.scan()
        verdicts.deduplicate(None)
        verdicts.conclude()
        sample = verdicts.sample(20).tolist()
        assert verdicts.sample(1000).tolist() == list(range(1000))
        digest = next(rule for rule in rules if rule.columns == ("digest",))
        assert verdicts.expected(digest, np.array(sample)) == [5, 900]
        assert verdicts.expected(digest, np.array([1, 900])) == []
    assert {5, 900, 991, 992} <= set(sample) and {0, 100, 200, 300} <= set(sample)
    assert len(sample) <= 20


@pytest.mark.parametrize("name", ["date=2026-01-01", "a[b]*?", "quote's"])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    spec = table_spec({})
    table = table_of(spec, [{}, {"label": "?"}])
    pq.write_table(table, folder / "rows.parquet")
    rules = rules_for(spec, date.fromisoformat(DAY), kinds(table.schema))
    with Verdicts(folder / "rows.parquet", rules, None, folder) as verdicts:
        verdicts.scan()
        assert verdicts.conclude() == {"unknown_label": 1}
        verdicts.write(folder / "rejected.jsonl", "again")
    assert (folder / "rejected.jsonl").read_text().count("\n") == 1
