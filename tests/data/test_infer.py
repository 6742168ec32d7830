"""What is inferred from data: layouts, roles, types, rules, and what a person is told where it cannot be."""

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.data.infer.sample import FIRST, KEPT, Sample
from tasks.data.readers import Row
from tests.data.drafts import TODAY, WRITERS, Rows, columns, drafted, flowers, picture, write_csv
from tests.servers.s3 import S3Server


@pytest.mark.parametrize("form", WRITERS)
def test_a_table_of_any_format_is_one_partition(home: Path, tmp_path: Path, form: str) -> None:
    WRITERS[form](tmp_path / f"flowers.{form}", flowers())
    draft = drafted(tmp_path)
    source = draft.values["source"]
    assert draft.values["task"] == "tabular_classification"
    assert (source["format"], source["partitions"], source["entity"]) == ("table", "single", "flower_id")
    assert (source["label"], source["event_time"]) == ("label", None)
    assert columns(draft) == {"petal": "number", "colour": "category", "wild": "boolean"}
    assert draft.values["classes"] == ["lily", "rose"]
    assert draft.values["start"] == draft.values["end"] == TODAY - timedelta(days=1)
    assert draft.values["source"]["uri"] == str(tmp_path)
    assert [feature["kind"] for feature in draft.values["features"]] == ["numeric", "categorical"]


@pytest.mark.parametrize("form", WRITERS)
def test_date_folders_are_partitions(home: Path, tmp_path: Path, form: str) -> None:
    for day in ("2026-01-03", "2026-01-01", "2026-01-02"):
        rows = flowers(20, event_time=lambda row, day=day: f"{day}T{row:02}:00:00Z")
        WRITERS[form](tmp_path / f"date={day}" / f"part.{form}", rows)
    draft = drafted(tmp_path)
    assert (draft.values["start"], draft.values["end"]) == (date(2026, 1, 1), date(2026, 1, 3))
    assert draft.values["source"]["partitions"] == "folders"
    assert draft.values["source"]["event_time"] == "event_time"
    assert "event_time" not in columns(draft)


def test_rows_that_come_some_days_late_are_allowed_to(home: Path, tmp_path: Path) -> None:
    rows = flowers(40, event_time=lambda row: f"2026-01-{10 - row % 3:02}T12:00:00Z")
    write_csv(tmp_path / "date=2026-01-10" / "rows.csv", rows)
    assert drafted(tmp_path).values["validation"]["late_days"] == 2


def test_a_time_that_has_nothing_to_do_with_the_partition_is_a_feature(home: Path, tmp_path: Path) -> None:
    rows = flowers(40, created_at=lambda row: f"2019-0{1 + row % 9}-01T12:00:00Z")
    write_csv(tmp_path / "date=2026-01-10" / "rows.csv", rows)
    draft = drafted(tmp_path)
    assert draft.values["source"]["event_time"] is None
    assert columns(draft)["created_at"] == "time"
    assert {"kind": "date_parts", "columns": ["created_at"]} in draft.values["features"]


def test_without_folders_days_of_events_are_partitions(home: Path, tmp_path: Path) -> None:
    rows = flowers(60, timestamp=lambda row: f"2026-02-{1 + row % 20:02} 08:00:00", known_at=lambda row: "2026-03-01")
    rows[7]["timestamp"] = "1970-01-01"
    write_csv(tmp_path / "flowers.csv", rows)
    draft = drafted(tmp_path)
    assert draft.values["source"]["partitions"] == "event_time"
    assert draft.values["source"]["event_time"] == "timestamp"
    assert draft.values["source"]["known_time"] == "known_at"
    assert draft.values["end"] == date(2026, 2, 20)


def test_recent_data_keeps_coming(home: Path, tmp_path: Path) -> None:
    for days in (0, 1, 2):
        write_csv(tmp_path / f"date={TODAY - timedelta(days=days)}" / "rows.csv", flowers(20))
    draft = drafted(tmp_path)
    assert draft.values["start"] == TODAY - timedelta(days=2)
    assert "end" not in draft.values


def test_every_event_lies_within_start_and_end_also_of_a_table_that_is_too_long_to_keep(
    home: Path, tmp_path: Path
) -> None:
    days = [date(2026, 1, 1) + timedelta(days=row % 40) for row in range(KEPT + 5_001)]
    rows = [{"time": str(day), "size": row, "label": "ab"[row % 2]} for row, day in enumerate(days)]
    rows[-2] = {**rows[-2], "time": "2025-12-31"}
    write_csv(tmp_path / "long.csv", rows)
    draft = drafted(tmp_path)
    assert (draft.values["start"], draft.values["end"]) == (date(2025, 12, 31), date(2026, 2, 9))
    assert "25,001 rows" in draft.comments["classes"]


def test_images_in_class_folders(home: Path, tmp_path: Path) -> None:
    for number in range(12):
        file = tmp_path / ("çats", "dogs & co")[number % 2] / "deep" / f"{number} ü.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    (tmp_path / ".DS_Store").write_bytes(b"x")
    draft = drafted(tmp_path)
    source = draft.values["source"]
    assert (source["format"], source["partitions"], source["entity"]) == ("image_folders", "single", None)
    assert draft.values["classes"] == ["dogs & co", "çats"]
    assert draft.values["image"] == {"height": 16, "width": 24, "channels": 3}
    assert draft.values["validation"] == {"tolerated": 0.05, "near_duplicate_bits": 2}
    assert draft.values["model"]["family"] == "convnet"
    widths = next(rule for rule in draft.expectations if rule["kwargs"]["column"] == "width")
    assert (widths["kwargs"]["min_value"], widths["kwargs"]["max_value"]) == (24, 24)
    with pytest.raises(BadInput, match="its folders are the labels"):
        drafted(tmp_path, label="colour")


@pytest.mark.parametrize("form", WRITERS)
def test_images_beside_a_labels_file(home: Path, tmp_path: Path, form: str) -> None:
    for day in ("2026-01-01", "2026-01-02"):
        folder = tmp_path / f"date={day}"
        rows = [{"file": f"scans/{n}.png", "target": n % 2, "when": f"{day}T01:00:00Z"} for n in range(10)]
        WRITERS[form](folder / f"labels.{form}", rows)
        (folder / "scans").mkdir()
        for number in range(10):
            (folder / "scans" / f"{number}.png").write_bytes(picture(number, (300, 200), "L"))
    draft = drafted(tmp_path)
    source = draft.values["source"]
    assert (source["format"], source["labels"], source["image"]) == ("images", f"labels.{form}", "file")
    assert (source["entity"], source["label"], source["partitions"]) == ("file", "target", "folders")
    assert draft.values["classes"] == ["0", "1"]
    assert draft.values["image"] == {"height": 85, "width": 128, "channels": 1}


def test_a_labels_file_can_be_named(home: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "mine.csv", [{"image": f"{n}.jpg", "label": "ab"[n % 2]} for n in range(10)])
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number, form="JPEG"))
    source = drafted(tmp_path / "mine.csv").values["source"]
    assert (source["uri"], source["format"], source["labels"]) == (str(tmp_path), "images", "mine.csv")


def test_one_table_of_several_can_be_named(home: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "flowers[1].csv", flowers())
    write_csv(tmp_path / "other.csv", [{"a": "1"}])
    with pytest.raises(BadInput, match="several tables"):
        drafted(tmp_path)
    assert drafted(tmp_path / "flowers[1].csv").values["source"]["files"] == "flowers[[]1].csv"


def test_images_that_repeat_are_not_called_near_duplicates(home: Path, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[number % 2] / f"{number}.png").write_bytes(picture(number // 4))
    draft = drafted(tmp_path)
    assert "near_duplicate_bits" not in draft.values["validation"]
    assert any("near-duplicates" in note for note in draft.notes)


@pytest.mark.parametrize(
    ("rows", "label", "told"),
    [
        (flowers(60, label=lambda row: f"name {row}"), None, "no classes"),
        (flowers(60, label=lambda row: "same"), None, "two are needed"),
        (flowers(60), "lable", "no such column"),
        ([{"a": row % 2, "b": row % 3, "c": row} for row in range(50)], None, r"a \(2 values\), b \(3 values\)"),
        ([{"label": "ab"[row % 2]} for row in range(50)], None, "no column that features"),
    ],
)
def test_what_cannot_be_told_is_asked_for(home: Path, tmp_path: Path, rows: Rows, label: str | None, told: str) -> None:
    write_csv(tmp_path / "t.csv", rows)
    with pytest.raises(BadInput, match=told) as caught:
        drafted(tmp_path, label)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ((), "no files"),
        (("notes.txt", "more.txt"), "2 of .txt"),
        (("a.png", "b.png"), "nothing that says what they show"),
        (("train/a.png", "test/b.png"), "splits, not classes"),
        (("cats/a.png", "dogs/b.png"), "none of the images"),
        (("t.csv",), "no header"),
    ],
)
def test_a_folder_that_nothing_can_be_learned_from_is_refused(
    home: Path, tmp_path: Path, files: Iterable[str], told: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(BadInput, match=told) as caught:
        drafted(tmp_path)
    assert caught.value.fix


def test_a_place_that_is_not_there_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        drafted(tmp_path / "nowhere")


@pytest.mark.slow
def test_a_source_on_s3_is_looked_at_alike(s3: S3Server, home: Path, tmp_path: Path) -> None:
    bucket = s3.bucket()
    for day in ("2026-01-01", "2026-01-02"):
        write_csv(tmp_path / "flowers.csv", flowers(30, event_time=lambda row, day=day: f"{day}T12:00:00Z"))
        s3.client.upload_file(str(tmp_path / "flowers.csv"), bucket, f"data/flowers/date={day}/flowers.csv")
    for number in range(12):
        key = f"data/pictures/{'ab'[number % 2]}/{number}.png"
        s3.client.put_object(Bucket=bucket, Key=key, Body=picture(number))
    table, images = drafted(f"s3://{bucket}/data/flowers"), drafted(f"s3://{bucket}/data/pictures/")
    assert table.values["source"]["uri"] == f"s3://{bucket}/data/flowers"
    assert (table.values["source"]["partitions"], table.values["start"]) == ("folders", date(2026, 1, 1))
    assert images.values["classes"] == ["a", "b"]
    one = drafted(f"s3://{bucket}/data/flowers/date=2026-01-01/flowers.csv")
    assert one.values["source"]["files"] == "flowers.csv"


def test_a_sample_of_a_long_table_is_bounded_and_reaches_to_its_end() -> None:
    sample, total = Sample(), 10 * KEPT
    for start in range(0, total, 5_000):
        sample.add([Row({"n": n, "parity": "eo"[n % 2]}, b"") for n in range(start, start + 5_000)], None)
    numbers = sample.column("n")
    assert KEPT / 3 < len(numbers) <= KEPT
    assert numbers[:FIRST] == list(range(FIRST))
    assert numbers[-1] > total - total / KEPT * 4
    assert sample.counts("parity") == {"e": total / 2, "o": total / 2}
    assert sample.counts("n") is None
    assert not sample.complete
