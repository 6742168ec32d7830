"""The gate: clean rows pass, bad ones are quarantined with every reason, and too many stop the partition."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.errors import BadInput, Refused
from tasks.data.quarantine import read_quarantine
from tests.data.partition import DAY, NOON, Partition, image_spec, table_of, table_spec

pytestmark = pytest.mark.usefixtures("home")

CLEAN: list[dict[str, Any]] = [{} for _ in range(10)]
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
BETWEEN = "expect_column_values_to_be_between"


def test_clean_rows_pass_with_the_columns_that_ingestion_gave_them() -> None:
    partition = Partition(image_spec(near_duplicate_bits=2))
    manifest = partition.validate(CLEAN)
    assert (manifest.rows.published, manifest.rows.quarantined, partition.rejected(manifest)) == (10, 0, {})
    assert partition.clean(manifest) == list(range(10))
    published = pq.read_schema(partition.store.fetch(f"{manifest.folder}/rows.parquet"))
    ingested = table_of(partition.spec, CLEAN).schema
    assert published.names == [name for name in ingested.names if name not in ("defect", "detail")]
    assert all(published.field(name).type == ingested.field(name).type for name in published.names)


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"defect": "truncated_image", "detail": "ends at 60 of 99"}, "truncated_image", "ends at 60 of 99"),
        ({"entity": None}, "null_entity", "entity: null"),
        ({"label": None}, "null_label", "label: null"),
        ({"event_time": None}, "null_event_time", "event_time: null"),
        ({"label": "ten"}, "unknown_label", "label: ten"),
        ({"event_time": MIDNIGHT + timedelta(days=1)}, "future_event_time", "event_time: 2026-01-02 00:00:00+00"),
        ({"known_time": NOON - timedelta(seconds=1)}, "future_event_time", None),
        (
            {"event_time": MIDNIGHT - timedelta(microseconds=1)},
            "late_event",
            "event_time: 2025-12-31 23:59:59.999999+00",
        ),
        ({"digest": "d0"}, "duplicate_image", "as row 0"),
        ({"image_hash": 0b101}, "near_duplicate", "as row 0"),
        ({"entity": "e0"}, "duplicate_entity", "as row 0"),
        ({"width": 9}, "width_out_of_range", "width: 9"),
        ({"height": 7}, "between_height", "height: 7"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_reason(row: dict[str, Any], reason: str, detail: str | None) -> None:
    suite = [
        {"type": BETWEEN, "kwargs": {"column": "width", "max_value": 8}, "meta": {"reason": "width_out_of_range"}},
        {"type": BETWEEN, "kwargs": {"column": "height", "min_value": 8, "max_value": None}},
    ]
    partition = Partition(image_spec(near_duplicate_bits=1, expectations=suite))
    manifest = partition.validate([{"image_hash": 0b100}, {"image_hash": 0b111 << 20}, *CLEAN, row])
    assert dict(manifest.reasons) == {reason: 1}
    rejected = partition.rejected(manifest)
    assert list(rejected) == [12]
    assert (rejected[12].reason, rejected[12].reasons) == (reason, [reason])
    assert detail is None or rejected[12].detail == detail
    assert f"--partition {DAY}" in rejected[12].replay
    assert partition.clean(manifest) == list(range(12))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"x": None, "defect": "wrong_type", "detail": "x: many"}, "wrong_type"),
        ({"defect": "column_removed", "detail": "x"}, "column_removed"),
        ({"x": None}, "null_x"),
        ({"digest": "d0"}, "duplicate_row"),
        ({"x": 11.0}, "between_x"),
        ({"x": float("nan")}, "null_x"),
        ({"x": float("inf")}, "between_x"),
    ],
)
def test_rows_of_tables_have_their_reasons(row: dict[str, Any], reason: str) -> None:
    suite = [{"type": BETWEEN, "kwargs": {"column": "x", "min_value": 0, "max_value": 10}}]
    partition = Partition(table_spec({}, nullable=False, expectations=suite))
    manifest = partition.validate([*CLEAN, row])
    assert dict(manifest.reasons) == {reason: 1}
    assert list(partition.rejected(manifest)) == [10]


def test_events_may_be_late_by_as_many_days_as_the_spec_says() -> None:
    partition = Partition(image_spec(late_days=2))
    rows = [{"event_time": MIDNIGHT - timedelta(days=days)} for days in (1, 2, 3)]
    assert dict(partition.validate(rows).reasons) == {"late_event": 1}


def test_in_a_single_partition_no_event_is_late() -> None:
    partition = Partition(table_spec({}, source={"partitions": "single"}))
    rows = [{"event_time": MIDNIGHT - timedelta(days=900)}, {"event_time": MIDNIGHT + timedelta(days=1)}]
    assert dict(partition.validate(rows).reasons) == {"future_event_time": 1}


def test_an_entity_may_come_again_at_another_time() -> None:
    manifest = Partition(image_spec()).validate([{"entity": "a"}, {"entity": "a", "event_time": MIDNIGHT}])
    assert manifest.rows.quarantined == 0


def test_a_row_with_many_faults_has_all_reasons_and_counts_once() -> None:
    partition = Partition(image_spec())
    manifest = partition.validate(
        [*CLEAN, {"entity": "e0", "label": "ten", "defect": "missing_file", "known_time": MIDNIGHT, "digest": None}]
    )
    assert dict(manifest.reasons) == {"missing_file": 1}
    reasons = ["missing_file", "unknown_label", "future_event_time", "duplicate_entity"]
    assert partition.rejected(manifest)[10].reasons == reasons


def test_of_repeated_rows_the_first_sound_one_stays() -> None:
    partition = Partition(image_spec(near_duplicate_bits=0))
    rows = [
        {"digest": "same", "label": "ten"},
        {"digest": "same", "entity": "kept"},
        {"digest": "same"},
        {"image_hash": 5, "label": "ten"},
        {"image_hash": 5, "entity": "kept", "event_time": MIDNIGHT},
        {"image_hash": 5},
        {"entity": "kept", "image_hash": 6},
    ]
    rejected = partition.rejected(partition.validate(rows))
    assert {row: (item.reason, item.detail) for row, item in rejected.items()} == {
        0: ("unknown_label", "label: ten"),
        2: ("duplicate_image", "as row 1"),
        3: ("unknown_label", "label: ten"),
        5: ("near_duplicate", "as row 4"),
        6: ("duplicate_entity", "as row 1"),
    }
    assert rejected[0].reasons == ["unknown_label", "duplicate_image"]


def test_an_added_column_quarantines_if_the_spec_says_so() -> None:
    drift = {"added": ["colour", "size"]}
    assert Partition(image_spec()).validate(CLEAN, drift).rows.quarantined == 0
    strict = Partition(image_spec(added_columns="quarantine"))
    manifest = strict.validate(CLEAN, drift)
    assert dict(manifest.reasons) == {"column_added": 10}
    assert strict.rejected(manifest)[3].detail == "added_column: colour, size"
    assert strict.validate(CLEAN).rows.quarantined == 0


def test_past_the_tolerated_share_the_partition_fails_and_the_quarantine_stays() -> None:
    partition = Partition(image_spec(tolerated=0.1))
    bad = [{"defect": "column_removed", "detail": "colour"}, {"label": "ten"}, {"label": "two"}]
    with pytest.raises(Refused, match=r"3 of 13 rows \(23\.1%\)") as caught:
        partition.validate([*CLEAN, *bad], {"removed": ["colour"]})
    assert not isinstance(caught.value, BadInput)
    assert "2 unknown_label, 1 column_removed (columns: removed colour)" in caught.value.message
    assert f"quarantine/date={DAY}/rows.jsonl" in caught.value.message
    assert f"updraft stage ingest rows --partition {DAY}" in caught.value.fix
    assert len(read_quarantine(partition.store, "rows", DAY)) == 3
    assert not any(path.endswith("manifest.json") for path in partition.store.list("rows/validate"))


def test_exactly_the_tolerated_share_passes() -> None:
    manifest = Partition(image_spec(tolerated=2 / 12)).validate([*CLEAN, {"label": "ten"}, {"label": "ten"}])
    assert manifest.rows.quarantined == 2


def test_a_table_that_breaks_a_rule_as_a_whole_is_refused_whatever_is_tolerated() -> None:
    few = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 11}}
    partition = Partition(image_spec(expectations=[few]))
    with pytest.raises(Refused, match=r"expect_table_row_count_to_be_between\(\) does not hold \(observed: 10\)"):
        partition.validate(CLEAN)
    assert partition.validate([*CLEAN, {}]).rows.published == 11


def test_a_rule_that_only_great_expectations_knows_quarantines_its_rows() -> None:
    rising = {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "x"}, "meta": {"reason": "falling"}}
    partition = Partition(table_spec({}, expectations=[rising]))
    manifest = partition.validate([*CLEAN, {"x": 3.0}, {"x": 4.0}])
    assert dict(manifest.reasons) == {"falling": 1}
    assert list(partition.rejected(manifest)) == [10]


def test_quarantine_and_page_follow_the_source_there_and_back() -> None:
    partition = Partition(image_spec())
    assert partition.validate([*CLEAN, {"label": "ten"}]).cache == "MISS"
    assert partition.validate(CLEAN).cache == "MISS"
    assert read_quarantine(partition.store, "rows", DAY) == []
    assert partition.validate([*CLEAN, {"label": "ten"}]).rows.quarantined == 1
    assert [item.reason for item in read_quarantine(partition.store, "rows", DAY)] == ["unknown_label"]
    assert partition.validate([*CLEAN, {"label": "ten"}]).cache == "HIT"
    partition.store.delete(f"rows/data_docs/date={DAY}/index.html")
    assert partition.validate([*CLEAN, {"label": "ten"}]).cache == "MISS"
    assert partition.store.exists(f"rows/data_docs/date={DAY}/index.html")


def test_data_docs_show_the_broken_rule_run_nothing_and_are_no_part_of_the_artifact() -> None:
    partition = Partition(image_spec())
    manifest = partition.validate([*CLEAN, {"label": "<script>alert(1)</script>"}])
    page = partition.store.read_bytes(manifest.metrics["data_docs"]).decode()
    assert manifest.metrics["data_docs"] == f"rows/data_docs/date={DAY}/index.html"
    assert f"<h1>rows {DAY}</h1>" in page and "<h2>All 11 rows</h2>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not any(what in page for what in ("<script", "<link", "https://", "http://"))
    assert set(manifest.outputs) == {"rows.parquet", "rejected.jsonl"}


def test_an_empty_partition_passes() -> None:
    for spec in (image_spec(near_duplicate_bits=3), table_spec({"a": "text", "b": "time", "c": "boolean"})):
        manifest = Partition(spec).validate([])
        assert (manifest.rows.received, manifest.rows.published, manifest.rows.quarantined) == (0, 0, 0)


def test_a_large_partition_is_judged_whole_and_sampled_for_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.validate.SAMPLE", 100)
    partition = Partition(image_spec())
    rows = [{"label": "ten"} if row % 7 == 0 else {"digest": "d1"} if row % 11 == 0 else {} for row in range(3000)]
    manifest = partition.validate(rows)
    assert dict(manifest.reasons) == {"unknown_label": 429, "duplicate_image": 234}
    assert manifest.metrics["sample"] < 200
    page = partition.store.read_bytes(manifest.metrics["data_docs"]).decode()
    assert f"<h2>{manifest.metrics['sample']} of 3000 rows" in page


def test_names_are_told_apart_by_case_and_any_unicode_comes_back() -> None:
    names = {"Label": "text", "ENTITY": "category", "größe \U0001f600": "number", "a\"b'c;--": "text"}
    suite = [
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "Label", "regex": "^ok"}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "größe \U0001f600"}},
        {"type": "expect_column_values_to_not_be_in_set", "kwargs": {"column": "a\"b'c;--", "value_set": ["';--"]}},
    ]
    partition = Partition(table_spec(names, expectations=suite))
    sound = {"Label": "ok", "ENTITY": "x", "größe \U0001f600": 1.5, "a\"b'c;--": "\u2028\x01\U0001f600"}
    rows = [sound, sound | {"Label": "no"}, sound | {"größe \U0001f600": None}, sound | {"a\"b'c;--": "';--"}]
    manifest = partition.validate(rows)
    rejected = partition.rejected(manifest)
    assert list(rejected) == [1, 2, 3]
    assert {name: rejected[1].row[name] for name in sound} == rows[1]


DIRT: dict[str, dict[str, Any]] = {
    "clean": {},
    "repeated": {"digest": "again"},
    "alike": {"image_hash": 77},
    "missing": {"defect": "missing_file", "digest": None},
    "label": {"label": "ten"},
    "late": {"event_time": MIDNIGHT - timedelta(days=1)},
    "nameless": {"entity": None},
}


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(sorted(DIRT)), max_size=12))
def test_rows_and_reasons_add_up_under_any_dirt(home: Path, kinds: list[str]) -> None:
    partition = Partition(image_spec(near_duplicate_bits=1))
    manifest = partition.validate([DIRT[kind] for kind in kinds])
    rejected = partition.rejected(manifest)
    assert manifest.rows.received == len(kinds) == manifest.rows.published + manifest.rows.quarantined
    assert Counter(item.reason for item in rejected.values()) == dict(manifest.reasons)
    assert sorted([*partition.clean(manifest), *rejected]) == list(range(len(kinds)))
    assert all(kinds[row] in {"clean", "repeated", "alike"} for row in partition.clean(manifest))
