"""Ingestion: every row is accounted for and every byte stays as received."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.artifacts import digest_bytes
from tasks.core.config import replace
from tasks.core.spec import Image
from tasks.runtime.images import decode
from tasks.runtime.near import perceptual_hash
from tests.data.conftest import DAY, HEADER, NOON, Source, png


def test_a_clean_row_is_described_and_its_bytes_are_archived(source: Source) -> None:
    source.write([["e1", "a.PNG", "3", f"{DAY}T01:00:00+02:00"]], {"a.PNG": png(1)})
    (row,) = source.rows(source.run("ingest"))
    digest = digest_bytes(png(1))
    assert row == {
        "row_id": 0,
        "entity": "e1",
        "event_time": datetime(2025, 12, 31, 23, tzinfo=UTC),
        "known_time": None,
        "label": "3",
        "digest": digest,
        "uri": f"digits/raw/date={DAY}/{digest}.png",
        "defect": None,
        "detail": None,
        "image": "a.PNG",
        "image_hash": perceptual_hash(decode(png(1), Image(height=32, width=32))),
        "bytes": len(png(1)),
        "width": 8,
        "height": 8,
        "mode": "L",
        "format": "PNG",
    }
    assert source.store.read_bytes(row["uri"]) == png(1)


def test_rows_with_too_few_or_too_many_fields_are_malformed_and_kept(source: Source) -> None:
    source.write([["e1", "a.png", "3", NOON, "more"], ["e2", "a.png"], ["e3", "a.png", "3", NOON]], {"a.png": png(1)})
    rows = source.rows(source.run("ingest"))
    assert [row["defect"] for row in rows] == ["malformed_row", "malformed_row", None]
    assert [row["detail"] for row in rows] == [f"e1,a.png,3,{NOON},more", "e2,a.png", None]
    kept = (source.folder / "labels.csv").read_bytes()
    assert source.store.read_bytes(rows[0]["uri"]) == kept
    assert rows[0]["uri"].endswith(f"{digest_bytes(kept)}.csv")


def test_the_first_fault_of_a_row_counts(source: Source) -> None:
    source.write([["", "", "", ""], ["e1", "absent.png", "", "soon"]])
    assert [row["defect"] for row in source.rows(source.run("ingest"))] == ["null_entity", "null_label"]


def test_labels_may_be_json_lines_or_parquet_of_any_scalar(source: Source) -> None:
    rows = [{"digit_id": 17, "image": "a.png", "label": 3.0, "event_time": NOON, "note": None}]
    rows.append({"digit_id": "x", "image": "a.png", "label": True, "event_time": NOON})
    source.write([], {"a.png": png(1), "labels.jsonl": "\n".join(map(json.dumps, rows)).encode()})
    pq.write_table(pa.Table.from_pylist(rows[:1]), source.folder / "labels.parquet")
    found = {}
    for kind in ("jsonl", "parquet"):
        manifest = source.run("ingest", spec=replace(source.spec, {"source.labels": f"labels.{kind}"}))
        found[kind] = [(row["entity"], row["label"], row["defect"]) for row in source.rows(manifest)]
        assert manifest.metrics["schema"] == {"added": ["note"], "removed": [], "retyped": []}
    assert found == {"jsonl": [("17", "3", None), ("x", "true", None)], "parquet": [("17", "3", None)]}


def test_a_label_that_is_no_scalar_has_the_wrong_type(source: Source) -> None:
    row = {"digit_id": "e1", "image": "a.png", "label": [3], "event_time": NOON}
    source.write([], {"a.png": png(1), "labels.jsonl": json.dumps(row).encode()})
    (found,) = source.rows(source.run("ingest", spec=replace(source.spec, {"source.labels": "labels.jsonl"})))
    assert (found["defect"], found["detail"]) == ("wrong_type", "label: [3]")


def test_a_labels_file_without_a_column_loses_no_row(source: Source) -> None:
    source.write([["e1", "a.png", NOON], ["e2", NOON]], {"a.png": png(1)}, header=("digit_id", "image", "event_time"))
    manifest = source.run("ingest")
    rows = source.rows(manifest)
    assert [row["defect"] for row in rows] == ["column_removed", "malformed_row"]
    assert rows[0]["detail"] == "label; labels.csv has digit_id, image, event_time"
    assert manifest.metrics["schema"]["removed"] == ["label"]


def test_sources_without_ids_and_times_are_named_by_their_rows(source: Source) -> None:
    source.write([["a.png", "3"], ["b.png", "4"]], {"a.png": png(1), "b.png": png(2)}, header=("image", "label"))
    spec = replace(source.spec, {"source.entity": None, "source.event_time": None})
    first, second = source.rows(source.run("ingest", spec=spec))
    assert first["entity"] == digest_bytes(b'{"image":"a.png","label":"3"}')
    assert first["entity"] != second["entity"]
    assert first["event_time"] == datetime.fromisoformat(f"{DAY}T00:00:00Z")
    assert (first["defect"], second["defect"]) == (None, None)


def test_the_time_at_which_a_row_became_known_is_kept(source: Source) -> None:
    header = (*HEADER, "known")
    rows = [
        ["e1", "a.png", "3", NOON, f"{DAY}T13:00:00Z"],
        ["e2", "a.png", "3", NOON, ""],
        ["e3", "a.png", "3", NOON, "?"],
    ]
    source.write(rows, {"a.png": png(1)}, header)
    found = source.rows(source.run("ingest", spec=replace(source.spec, {"source.known_time": "known"})))
    assert [row["known_time"] for row in found] == [datetime.fromisoformat(f"{DAY}T13:00:00Z"), None, None]
    assert [row["defect"] for row in found] == [None, None, "wrong_type"]


def test_a_day_without_rows_is_published_empty(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.write([])
    manifest = source.run("ingest")
    assert (manifest.rows.received, manifest.rows.published) == (0, 0)
    assert source.rows(manifest) == []
    assert "no rows" in caplog.text


def test_progress_is_told(source: Source, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    source.write_clean(3)
    caplog.set_level("INFO", "updraft")
    monkeypatch.setattr("tasks.data.ingest._REPORT_SECONDS", 0)
    source.run("ingest")
    assert f"ingest {DAY}: 3 rows" in caplog.text


def test_ingesting_again_is_a_hit_until_a_file_changes(source: Source) -> None:
    source.write_clean(3)
    first = source.run("ingest")
    assert source.run("ingest").cache == "HIT"
    (source.folder / "1.png").write_bytes(png(77))
    again = source.run("ingest")
    assert again.cache == "MISS"
    assert again.digest != first.digest


def test_the_same_files_elsewhere_are_the_same_artifact(new_source: Callable[[], Source]) -> None:
    manifests = []
    for place in (new_source(), new_source()):
        place.write_clean(3)
        manifests.append(place.run("ingest"))
    assert manifests[0].key == manifests[1].key
    assert manifests[1].cache == "HIT"


def test_columns_may_have_the_names_that_the_spec_gives_them(source: Source) -> None:
    source.write([[NOON, "7", "a.png", "e1"]], {"a.png": png(1)}, header=("at", "class", "file", "key"))
    names = {"source.entity": "key", "source.image": "file", "source.label": "class", "source.event_time": "at"}
    (row,) = source.rows(source.run("ingest", spec=replace(source.spec, names)))
    assert (row["entity"], row["label"], row["defect"]) == ("e1", "7", None)


FIELD = st.one_of(st.sampled_from(["", "3", "a.png", "b.png", NOON, "../x", "\x00"]), st.text(max_size=12))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(FIELD, min_size=1, max_size=5), max_size=8), damaged=st.binary(max_size=60))
def test_no_row_is_lost_whatever_it_holds(
    new_source: Callable[[], Source], rows: list[list[str]], damaged: bytes
) -> None:
    source = new_source()
    source.write([row for row in rows if row != [""]], {"a.png": png(1), "b.png": damaged}, HEADER)
    written = [row for row in rows if row != [""]]
    manifest = source.run("ingest")
    published = source.rows(manifest)
    assert [row["row_id"] for row in published] == list(range(len(written)))
    assert manifest.rows.received == manifest.rows.published == len(written)
