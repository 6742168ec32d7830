"""The gate: clean rows pass, bad ones are quarantined with every reason, and too many stop the partition."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.config import replace
from tasks.core.errors import BadInput, Refused
from tasks.data.ingest import SCHEMA
from tasks.data.quarantine import from_jsonl, read_quarantine
from tests.data.conftest import DAY, NOON, Source, png

CLEAN = 10


def check(source: Source, *extra: list[str], files: dict[str, bytes] | None = None, tolerated: float = 1.0) -> tuple:
    """Validates ten clean rows and some more: the manifest, and the quarantined rows by row_id."""
    rows = source.write_clean(CLEAN)
    source.write([*rows, *extra], files)
    spec = replace(source.spec, {"validation.tolerated": tolerated})
    manifest = source.run("validate", source.run("ingest", spec=spec), spec=spec)
    return manifest, {item.row["row_id"]: item for item in read_quarantine(source.store, "digits", DAY)}


def test_clean_rows_pass_with_the_columns_that_ingestion_gave_them(source: Source) -> None:
    manifest, rejected = check(source)
    assert (manifest.rows.published, manifest.rows.quarantined, rejected) == (CLEAN, 0, {})
    assert [row["row_id"] for row in source.rows(manifest)] == list(range(CLEAN))
    assert list(source.rows(manifest)[0]) == [name for name in SCHEMA.names if name != "defect"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["new", "new.png", "ten", NOON], "unknown_label"),
        (["new", "new.png", "3", "2026-01-02T00:00:00Z"], "outside_partition"),
        (["new", "new.png", "3", "2025-12-31T23:59:59Z"], "outside_partition"),
        (["new", "wide.png", "3", NOON], "width_out_of_range"),
        (["new", "0.png", "3", NOON], "duplicate_image"),
        (["e0", "new.png", "3", NOON], "duplicate_entity"),
        (["new", "absent.png", "3", NOON], "missing_file"),
        (["new", "cut.png", "3", NOON], "truncated_image"),
        (["new", "new.png", "", NOON], "null_label"),
        (["", "new.png", "3", NOON], "null_entity"),
        (["new", "new.png", "3", "noon"], "bad_event_time"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_reason(source: Source, row: list[str], reason: str) -> None:
    files = {"new.png": png(100), "wide.png": png(101, side=9), "cut.png": png(102)[:60]}
    manifest, rejected = check(source, row, files=files)
    assert dict(manifest.reasons) == {reason: 1}
    assert list(rejected) == [CLEAN]
    item = rejected[CLEAN]
    assert (item.reason, item.row["image"], item.row["label"] or "") == (reason, row[1], row[2])
    assert source.store.read_bytes(manifest.metrics["quarantine"]) == source.store.read_bytes(
        f"{manifest.folder}/rejected.jsonl"
    )
    assert item.rule.startswith("expect_column_values_to_")
    assert f"--partition {DAY}" in item.replay
    assert CLEAN not in {found["row_id"] for found in source.rows(manifest)}


def test_the_days_last_moment_belongs_to_it(source: Source) -> None:
    manifest, _ = check(source, ["new", "new.png", "3", f"{DAY}T23:59:59.999999Z"], files={"new.png": png(100)})
    assert manifest.rows.quarantined == 0


def test_a_row_with_many_faults_has_all_reasons_and_counts_once(source: Source) -> None:
    manifest, rejected = check(source, ["e0", "cut.png", "ten", "2030-01-01T00:00:00Z"], files={"cut.png": b"?"})
    assert dict(manifest.reasons) == {"unreadable_image": 1}
    assert rejected[CLEAN].reasons == ["unreadable_image", "unknown_label", "outside_partition", "duplicate_entity"]


def test_of_repeated_images_the_first_sound_row_stays(source: Source) -> None:
    repeats = [["a", "new.png", "ten", NOON], ["b", "new.png", "3", NOON], ["c", "new.png", "3", NOON]]
    manifest, rejected = check(source, *repeats, files={"new.png": png(100)})
    assert {row: item.reason for row, item in rejected.items()} == {
        CLEAN: "unknown_label",
        CLEAN + 2: "duplicate_image",
    }
    assert CLEAN + 1 in {row["row_id"] for row in source.rows(manifest)}


def test_past_the_tolerated_share_the_partition_fails_and_the_quarantine_stays(source: Source) -> None:
    bad = [["x", "absent.png", "3", NOON], ["y", "new.png", "ten", NOON]]
    with pytest.raises(Refused, match=r"2 of 12 rows \(16\.7%\)") as caught:
        check(source, *bad, files={"new.png": png(100)}, tolerated=0.1)
    assert not isinstance(caught.value, BadInput)
    assert "1 missing_file" in caught.value.message
    assert f"quarantine/date={DAY}/rows.jsonl" in caught.value.message
    assert f"updraft stage ingest digits --partition {DAY}" in caught.value.fix
    assert len(read_quarantine(source.store, "digits", DAY)) == 2
    assert not any(path.endswith("manifest.json") for path in source.store.list("digits/validate"))


def test_exactly_the_tolerated_share_passes(source: Source) -> None:
    bad = [[f"x{number}", "absent.png", "3", NOON] for number in range(2)]
    manifest, _ = check(source, *bad, tolerated=2 / 12)
    assert manifest.rows.quarantined == 2


def test_a_corrected_source_clears_the_quarantine(source: Source) -> None:
    _, rejected = check(source, ["new", "absent.png", "3", NOON])
    assert rejected
    _, rejected = check(source, ["new", "absent.png", "3", NOON], files={"absent.png": png(100)})
    assert not rejected


def test_data_docs_show_the_broken_rule_and_are_no_part_of_the_artifact(source: Source) -> None:
    manifest, _ = check(source, ["new", "new.png", "eleven", NOON], files={"new.png": png(100)})
    page = source.store.read_bytes(manifest.metrics["data_docs"]).decode()
    assert manifest.metrics["data_docs"] == f"digits/data_docs/date={DAY}/index.html"
    assert "eleven" in page
    assert set(manifest.outputs) == {"rows.parquet", "rejected.jsonl"}


def test_an_empty_partition_passes(source: Source) -> None:
    source.write([])
    manifest = source.run("validate", source.run("ingest"))
    assert (manifest.rows.received, manifest.rows.published, manifest.rows.quarantined) == (0, 0, 0)


DIRT = {
    "clean": lambda n: [f"e{n}", f"{n}.png", str(n), NOON],
    "repeated": lambda n: ["e0", "0.png", "0", NOON],
    "missing": lambda n: [f"e{n}", "absent.png", str(n), NOON],
    "cut": lambda n: [f"e{n}", "cut.png", str(n), NOON],
    "label": lambda n: [f"e{n}", f"{n}.png", "ten", NOON],
    "late": lambda n: [f"e{n}", f"{n}.png", str(n), "2026-02-01"],
    "malformed": lambda n: [f"e{n}", f"{n}.png"],
}


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(sorted(DIRT)), max_size=CLEAN))
def test_rows_and_reasons_add_up_under_any_dirt(new_source: Callable[[], Source], kinds: list[str]) -> None:
    source = new_source()
    source.write_clean(CLEAN)
    source.write([DIRT[kind](number) for number, kind in enumerate(kinds)], {"cut.png": png(100)[:50]})
    spec = replace(source.spec, {"validation.tolerated": 1.0})
    manifest = source.run("validate", source.run("ingest", spec=spec), spec=spec)
    rejected = from_jsonl(source.store.read_bytes(f"{manifest.folder}/rejected.jsonl"))
    assert manifest.rows.received == len(kinds) == manifest.rows.published + manifest.rows.quarantined
    assert Counter(item.reason for item in rejected) == dict(manifest.reasons)
    kept = [row["row_id"] for row in source.rows(manifest)]
    assert sorted([*kept, *(item.row["row_id"] for item in rejected)]) == list(range(len(kinds)))
    assert all(kinds[row] in {"clean", "repeated"} for row in kept)
