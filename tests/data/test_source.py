"""A source: its dates, when it is the same, and what is said about one that cannot be used."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import BadInput, StageFailed
from tasks.core.files import LocalFiles
from tasks.core.spec import Project
from tasks.core.store import open_files
from tasks.data.days import divide
from tasks.data.source import open_partition, partitions, path_in_source
from tests.data.conftest import DAY, NOON, Source, png, table_spec
from tests.servers.s3 import S3Server


def test_partitions_are_the_dates_within_start_and_end(source: Source) -> None:
    for name in ("date=2026-01-03", "date=2025-12-31", "date=2026-01-09", "date=2026-1-2", "date=soon", "notes"):
        (source.folder.parent / name).mkdir()
    (source.folder.parent / "date=2026-01-02").write_text("a file, not a folder")
    assert partitions(source.spec) == [DAY, "2026-01-03"]


def test_without_an_end_later_dates_count_too(source: Source) -> None:
    (source.folder.parent / "date=2031-05-06").mkdir()
    assert partitions(replace(source.spec, {"end": None})) == [DAY, "2031-05-06"]


def test_one_partition_is_of_the_projects_first_day(source: Source) -> None:
    spec = replace(source.spec, {"source.partitions": "single"})
    assert partitions(spec) == [str(spec.start)]
    with pytest.raises(BadInput, match="no partition 2026-01-02"):
        open_partition(spec, "2026-01-02")


def test_a_source_that_does_not_exist_is_named_with_the_fix(source: Source) -> None:
    spec = replace(source.spec, {"source.uri": "nowhere", "source.sample": "digits"})
    for use in (lambda: partitions(spec), lambda: open_partition(spec, DAY)):
        with pytest.raises(BadInput, match=r"source\.uri: .*nowhere is not a folder") as caught:
            use()
        assert "updraft run digits" in caught.value.fix


def test_a_partition_that_does_not_exist_is_named_beside_those_that_do(source: Source) -> None:
    with pytest.raises(BadInput, match="date=2026-01-05") as caught:
        open_partition(source.spec, "2026-01-05")
    assert f"{DAY} to {DAY} (1 in all)" in caught.value.fix


@pytest.mark.parametrize("partition", [None, "", "2026-1-1", "today", "../secret"])
def test_what_is_no_date_is_no_partition(source: Source, partition: str | None) -> None:
    with pytest.raises(BadInput, match="not the date of a partition"):
        open_partition(source.spec, partition)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ".."])
def test_a_name_that_leads_out_of_the_source_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        path_in_source(f"date={DAY}/", name)


def test_every_file_of_a_partition_counts_and_nothing_else(source: Source) -> None:
    seen = []

    def ingest() -> Manifest:
        manifest = source.run("ingest")
        seen.append(manifest.key)
        return manifest

    source.write_clean(2)
    ingest()
    (source.folder / "1.png").write_bytes(png(77))
    assert ingest().because.startswith("source changed")
    (source.folder / "1.png").rename(source.folder / "2.png")
    ingest()
    (source.folder / "link").symlink_to("2.png")
    ingest()
    assert len(set(seen)) == 4
    (source.folder / "2.png").touch()
    (source.folder.parent / "date=2026-01-02").mkdir()
    assert ingest().cache == "HIT"


def test_a_file_that_goes_while_it_is_looked_at_fails_the_stage(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_clean(2)

    def gone(files: LocalFiles, path: str) -> Any:
        raise FileNotFoundError(path)

    monkeypatch.setattr(LocalFiles, "digest", gone)
    with pytest.raises(StageFailed, match="changed while it was read"):
        source.run("ingest")


def by_event_time(root: Path, rows: list[tuple[str, str]], end: str | None = None) -> Project:
    """A table of ids and event times in two files, and a project that divides it."""
    for name, part in (("a.csv", rows[::2]), ("b.csv", rows[1::2])):
        with (root / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "event_time", "label", "size"), *((*row, "yes", "1") for row in part)])
    return replace(table_spec(root, {"size": "number"}, partitions="event_time"), {"end": end})


def test_rows_belong_to_the_day_of_their_event(source: Source) -> None:
    rows = [
        *(("e1", f"{DAY}T00:00:00Z"), ("e2", "2026-01-02T23:30:00Z"), ("e3", "2026-01-02T01:00:00+02:00")),
        *(("e4", ""), ("e5", "soon"), ("early", "2025-12-31T23:59:59Z"), ("late", "2026-02-01")),
    ]
    spec = by_event_time(source.folder.parent, rows, end="2026-01-31")
    assert partitions(spec) == [DAY, "2026-01-02"]
    found = {day: source.rows(source.run("ingest", spec=spec, partition=day)) for day in partitions(spec)}
    assert [row["entity"] for row in found[DAY]] == ["e1", "e3", "e5", "e4"]
    assert [row["defect"] for row in found[DAY]] == [None, None, "bad_event_time", "null_event_time"]
    assert [(row["entity"], row["row_id"]) for row in found["2026-01-02"]] == [("e2", 0)]
    kept = source.store.read_bytes(found["2026-01-02"][0]["uri"])
    assert json.loads(kept)["event_time"] == "2026-01-02T23:30:00Z"
    with pytest.raises(BadInput, match="no partition 2026-01-03"):
        source.run("ingest", spec=spec, partition="2026-01-03")


def test_rows_that_cannot_be_read_belong_to_the_first_day(source: Source) -> None:
    spec = by_event_time(source.folder.parent, [("e1", "2026-01-02")])
    with (source.folder.parent / "b.csv").open("a") as file:
        file.write("too,few\n")
    assert partitions(spec) == [DAY, "2026-01-02"]
    (row,) = source.rows(source.run("ingest", spec=spec))
    assert (row["defect"], row["detail"]) == ("malformed_row", "too,few")


def test_a_new_day_leaves_the_others_as_they_are(source: Source) -> None:
    root = source.folder.parent
    spec = by_event_time(root, [("e1", "2026-01-01"), ("e2", "2026-01-02"), ("e3", "2026-01-01")])
    first = {day: source.run("ingest", spec=spec, partition=day) for day in partitions(spec)}
    rows = [
        ("e1", "2026-01-01"),
        ("e2", "2026-01-02"),
        ("e3", "2026-01-01"),
        ("e4", "2026-01-02"),
        ("e5", "2026-01-03"),
    ]
    by_event_time(root, rows)
    again = {day: source.run("ingest", spec=spec, partition=day) for day in partitions(spec)}
    assert {day: manifest.cache for day, manifest in again.items()} == {
        "2026-01-01": "HIT", "2026-01-02": "MISS", "2026-01-03": "MISS"
    }  # fmt: skip
    assert again["2026-01-01"].digest == first["2026-01-01"].digest


def test_a_source_is_read_once_for_all_its_days(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = by_event_time(source.folder.parent, [(f"e{day}", f"2026-01-{day:02}") for day in range(1, 10)])
    for path in source.folder.parent.glob("*.csv"):
        os.utime(path, (0, 0))  # Long ago: what was written just now may change again unseen, and is looked at anew.
    assert len(partitions(spec)) == 9

    def read_again(files: LocalFiles, path: str) -> Path:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(LocalFiles, "local", read_again)
    for day in partitions(spec):
        assert source.run("ingest", spec=spec, partition=day).rows.published == 1


def test_the_divisions_of_older_states_are_forgotten(source: Source) -> None:
    for number in range(4):
        spec = by_event_time(source.folder.parent, [(f"e{number}", DAY)])
        assert partitions(spec) == [DAY]
    assert len(list((source.folder.parents[2] / "home").rglob("days.json"))) <= 2


def test_a_source_that_changes_while_it_is_divided_fails(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = by_event_time(source.folder.parent, [("e1", DAY)])
    local = LocalFiles.local

    def meanwhile(files: LocalFiles, path: str) -> Path:
        with (source.folder.parent / "a.csv").open("a") as file:
            file.write(f"e2,{DAY},yes,1\n")
        return local(files, path)

    part = open_files(str(source.folder.parent))
    tables = [info for info in part.list() if info.path.endswith(".csv")]
    monkeypatch.setattr(LocalFiles, "local", meanwhile)
    with pytest.raises(StageFailed, match="changed while it was read"):
        divide(spec, part, tables)


TIMES = st.sampled_from(
    ["2025-12-31", "2026-01-01T05:00:00Z", "2026-01-03", "2026-01-04T23:59:59Z", "2026-02-02", "", "x"]
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(TIMES, max_size=12))
def test_no_row_of_the_project_is_lost_or_taken_twice(new_source: Callable[[], Source], times: list[str]) -> None:
    source = new_source()
    rows = [(f"e{number}", time) for number, time in enumerate(times)]
    spec = by_event_time(source.folder.parent, rows, end="2026-01-31")
    found = [row for day in partitions(spec) for row in source.rows(source.run("ingest", spec=spec, partition=day))]
    mine = [name for name, time in rows if time[:10] not in ("2025-12-31", "2026-02-02")]
    assert sorted(row["entity"] for row in found) == sorted(mine)


def test_images_may_be_divided_by_event_time_too(source: Source) -> None:
    root = source.folder.parent
    source.write([["e1", "1.png", "3", NOON], ["e2", "2.png", "3", "2026-01-02"], ["e3", "../x", "3", "2026-01-02"]])
    (source.folder / "labels.csv").rename(root / "labels.csv")
    source.folder.rmdir()
    for number in (1, 2):
        (root / f"{number}.png").write_bytes(png(number))
    spec = replace(source.spec, {"source.partitions": "event_time"})
    assert partitions(spec) == [DAY, "2026-01-02"]
    first, second = (source.run("ingest", spec=spec, partition=day) for day in partitions(spec))
    assert [row["defect"] for row in source.rows(second)] == [None, "path_outside_source"]
    (root / "2.png").write_bytes(png(3))
    assert source.run("ingest", spec=spec, partition=DAY).cache == "HIT"
    assert source.run("ingest", spec=spec, partition="2026-01-02").cache == "MISS"
    assert first.rows.published == 1


def test_a_source_on_s3_gives_what_the_same_folder_gives(source: Source, s3: S3Server) -> None:
    name = "Ünïcödé 1%.png"
    names = [name, "../x", "no.png", "x" * 5000, "a\0b", "."]
    source.write([[f"e{number}", name, "3", NOON] for number, name in enumerate(names)], {name: png(1)})
    bucket = s3.bucket()
    for path in source.folder.iterdir():
        s3.client.upload_file(str(path), bucket, f"data/{source.folder.name}/{os.fspath(path.name)}")
    spec = replace(source.spec, {"source.uri": f"s3://{bucket}/data"})
    assert partitions(spec) == [DAY]
    remote, local = source.run("ingest", spec=spec), source.run("ingest")
    assert local.cache == "HIT"
    assert source.rows(remote) == source.rows(local)
    assert [row["defect"] for row in source.rows(remote)] == [None, "path_outside_source", *["missing_file"] * 4]
