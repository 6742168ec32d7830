"""Ingestion: every row is accounted for and every byte stays as received."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.artifacts import digest_bytes
from tasks.core.config import replace
from tasks.core.errors import BadInput
from tests.data.conftest import DAY, HEADER, NOON, Source, png


def test_a_clean_row_is_described_and_its_bytes_are_archived(source: Source) -> None:
    source.write([["e1", "a.PNG", "3", f"{DAY}T01:00:00+02:00"]], {"a.PNG": png(1)})
    manifest = source.run("ingest")
    (row,) = source.rows(manifest)
    digest = digest_bytes(png(1))
    assert row == {
        "row_id": 0,
        "entity": "e1",
        "event_time": datetime(2025, 12, 31, 23, tzinfo=UTC),
        "label": "3",
        "image": "a.PNG",
        "uri": f"digits/ingest/{manifest.key}/files/{digest}.png",
        "digest": digest,
        "bytes": len(png(1)),
        "width": 8,
        "height": 8,
        "mode": "L",
        "defect": None,
    }
    assert source.store.read_bytes(row["uri"]) == png(1)


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        ({0: ""}, "null_entity"),
        ({2: ""}, "null_label"),
        ({3: ""}, "null_event_time"),
        ({3: "yesterday"}, "bad_event_time"),
        ({3: "0001-01-01T00:00:00+10:00"}, "bad_event_time"),
        ({1: ""}, "null_image"),
        ({1: "absent.png"}, "missing_file"),
        ({1: "x" * 5000}, "missing_file"),
        ({1: "."}, "missing_file"),
        ({1: "../labels.csv"}, "path_outside_partition"),
        ({1: "sub/../good.png"}, "path_outside_partition"),
        ({1: "/etc/hostname"}, "path_outside_partition"),
        ({1: "link.png"}, "path_outside_partition"),
        ({1: "empty.png"}, "empty_file"),
        ({1: "cut.png"}, "truncated_image"),
        ({1: "labels.csv"}, "unreadable_image"),
    ],
)
def test_a_row_that_cannot_be_used_is_published_with_its_defect(
    source: Source, tmp_path: Path, change: dict[int, str], defect: str
) -> None:
    (tmp_path / "secret.png").write_bytes(png(9))
    (source.folder / "link.png").symlink_to(tmp_path / "secret.png")
    row = ["e1", "good.png", "3", NOON]
    for position, value in change.items():
        row[position] = value
    source.write([row], {"good.png": png(1), "empty.png": b"", "cut.png": png(1)[:-20]})
    manifest = source.run("ingest")
    assert [found["defect"] for found in source.rows(manifest)] == [defect]
    assert manifest.rows.published == 1
    assert manifest.metrics["defects"] == 1


def test_rows_with_too_few_or_too_many_fields_are_malformed(source: Source) -> None:
    source.write([["e1", "a.png", "3", NOON, "more"], ["e2", "a.png"], ["e3", "a.png", "3", NOON]], {"a.png": png(1)})
    assert [row["defect"] for row in source.rows(source.run("ingest"))] == ["malformed_row", "malformed_row", None]


def test_damaged_bytes_are_archived_too(source: Source) -> None:
    source.write([["e1", "cut.png", "3", NOON]], {"cut.png": png(1)[:40]})
    (row,) = source.rows(source.run("ingest"))
    assert source.store.read_bytes(row["uri"]) == png(1)[:40]
    assert row["width"] is None


def test_a_day_without_rows_is_published_empty(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.write([])
    manifest = source.run("ingest")
    assert (manifest.rows.received, manifest.rows.published) == (0, 0)
    assert source.rows(manifest) == []
    assert "no rows" in caplog.text


def test_a_partition_without_its_labels_file_is_bad_input(source: Source) -> None:
    with pytest.raises(BadInput, match=r"labels\.csv does not exist"):
        source.run("ingest")


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
