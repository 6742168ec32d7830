"""What is inferred from data: layouts, roles, types, rules, and what a person is told where it cannot be."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.core.errors import BadInput
from tasks.core.spec import Project
from tasks.data.infer import Draft, infer
from tasks.data.infer.sample import FIRST, KEPT, Sample
from tasks.data.readers import Row
from tests.servers.s3 import S3Server

TODAY = date(2026, 6, 1)
Rows = Sequence[Mapping[str, Any]]


def drafted(path: Path | str, label: str | None = None) -> Draft:
    """The draft for the data at ``path``, once it is known to be a sound project."""
    draft = infer(str(path), label=label, today=TODAY, say=lambda _: None)
    validation = {**draft.values["validation"], "expectations": draft.expectations}
    Project.model_validate({"name": "mine", **draft.values, "validation": validation})
    return draft


def picture(seed: int, size: tuple[int, int] = (24, 16), mode: str = "RGB", form: str = "PNG") -> bytes:
    """An image of noise, (width, height)."""
    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def write_csv(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


WRITERS: Mapping[str, Callable[[Path, Rows], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def flowers(count: int = 60, **more: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Rows of a small table; ``more``: columns to what they hold in a row."""
    return [
        {
            "flower_id": f"f-{row}",
            "petal": 1.5 + row % 7,
            "colour": ("red", "blue", "white")[row % 3],
            "wild": ("true", "false")[row % 2],
            "label": ("rose", "lily")[row % 2],
            **{name: make(row) for name, make in more.items()},
        }
        for row in range(count)
    ]


def columns(draft: Draft) -> dict[str, str]:
    return {column["name"]: column["type"] for column in draft.values["source"]["columns"]}


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


def test_texts_are_told_from_categories_and_names(home: Path, tmp_path: Path) -> None:
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs", "far", "away"]
    rows = [
        {
            "review": " ".join(words[row % 5 : row % 7 + 5]) + f" {row}",
            "notiz": "とても美しい花ですが少し高い" + chr(0x4E00 + row),
            "shop": f"shop {row % 4}",
            "receipt": f"{row:08x}",
            "sentiment": ("good", "bad")[row % 2],
        }
        for row in range(80)
    ]
    write_jsonl(tmp_path / "reviews.jsonl", rows)
    draft = drafted(tmp_path)
    assert draft.values["task"] == "text_classification"
    assert columns(draft) == {"review": "text", "notiz": "text", "shop": "category"}
    assert any("receipt" in note for note in draft.notes)
    texts = [feature for feature in draft.values["features"] if feature["kind"] == "text"]
    assert [feature["name"] for feature in texts] == ["text_1_review", "text_2_notiz"]


def test_numbers_with_leading_zeros_are_categories(home: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", flowers(postcode=lambda row: f"0{1000 + row % 5}"))
    assert columns(drafted(tmp_path))["postcode"] == "category"


def test_what_no_feature_can_use_is_said(home: Path, tmp_path: Path) -> None:
    rows = flowers(
        constant=lambda row: 7,
        width=lambda row: row % 9,
        size=lambda row: "unknown" if row % 9 == 0 else row,
        empty=lambda row: "",
    )
    write_csv(tmp_path / "t.csv", rows)
    draft = drafted(tmp_path)
    assert {"constant", "width", "size", "empty"}.isdisjoint(columns(draft))
    told = " ".join(draft.notes)
    assert "constant: not used; it holds one value" in told
    assert "width: not used; Updraft itself uses that name" in told
    assert "7 of 60 values are not, as 'unknown'" in told


def test_a_few_wrong_values_do_not_change_a_type_and_missing_ones_are_allowed(home: Path, tmp_path: Path) -> None:
    rows = flowers(200, size=lambda row: "n/a" if row == 3 else row, depth=lambda row: "" if row % 4 == 0 else row)
    write_csv(tmp_path / "t.csv", rows)
    found = {column["name"]: column for column in drafted(tmp_path).values["source"]["columns"]}
    assert found["size"] == {"name": "size", "type": "number"}
    assert found["depth"] == {"name": "depth", "type": "number", "nullable": True}


def rules(draft: Draft) -> dict[str, dict[str, Any]]:
    return {rule["kwargs"]["column"]: rule["kwargs"] for rule in draft.expectations}


def test_rules_hold_of_what_was_seen_and_not_of_what_is_absurd(home: Path, tmp_path: Path) -> None:
    rows = flowers(400, size=lambda row: -50 if row == 9 else 10 + row % 30, note=lambda row: "word " * (6 + row % 30))
    write_csv(tmp_path / "t.csv", rows)
    draft = drafted(tmp_path)
    found = rules(draft)
    assert found["size"]["min_value"] == 0
    assert 39 < found["size"]["max_value"] < 60
    assert found["colour"]["value_set"] == ["blue", "red", "white"]
    assert found["note"]["min_value"] >= 10
    assert any("0.2% of the rows" in note for note in draft.notes)


def test_labels_that_are_mistakes_are_no_classes(home: Path, tmp_path: Path) -> None:
    rows = flowers(300)
    rows[5]["label"], rows[6]["label"] = "?", ""
    write_csv(tmp_path / "t.csv", rows)
    draft = drafted(tmp_path)
    assert draft.values["classes"] == ["lily", "rose"]
    assert any("'?' (1)" in note for note in draft.notes)


def test_a_rare_class_is_weighted(home: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", flowers(200, label=lambda row: "rare" if row % 10 == 0 else "usual"))
    draft = drafted(tmp_path)
    assert draft.values["sampling"] == {"balance": "class_weights"}
    assert draft.values["gates"][0] == {"metric": "accuracy", "min": 0.9}


def test_numeric_classes_are_in_order(home: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", flowers(200, label=lambda row: (10, 9, 2)[row % 3]))
    assert drafted(tmp_path).values["classes"] == ["2", "9", "10"]


def test_a_label_of_many_numbers_is_a_quantity(home: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", flowers(200, label=lambda row: "unknown" if row == 7 else 10 + row * 0.37))
    draft = drafted(tmp_path)
    assert draft.values["task"] == "tabular_regression" and "classes" not in draft.values
    assert [gate["metric"] for gate in draft.values["gates"]] == ["r2", "r2"]
    assert draft.comments["task"] == "200 rows: 10 to 83.63, 46.987 on average."
    (rule,) = [rule for rule in draft.expectations if rule["kwargs"]["column"] == "label"]
    assert rule["kwargs"]["min_value"] < 10 and 84 < rule["kwargs"]["max_value"] < 200
    assert draft.notes == ["0.5% of the rows looked at would be quarantined"]


def test_images_may_have_a_quantity_for_a_label(home: Path, tmp_path: Path) -> None:
    rows = [{"file": f"{row}.png", "label": row / 8} for row in range(40)]
    write_csv(tmp_path / "labels.csv", rows)
    for row in range(40):
        (tmp_path / f"{row}.png").write_bytes(picture(row))
    draft = drafted(tmp_path)
    assert draft.values["task"] == "image_regression"
    assert draft.expectations[0]["meta"]["reason"] == "label_out_of_range"


def test_an_entity_may_come_again_at_another_time(home: Path, tmp_path: Path) -> None:
    rows = flowers(60, flower_id=lambda row: f"f{row % 6}", event_time=lambda row: f"2026-01-{1 + row // 6:02}")
    write_csv(tmp_path / "t.csv", rows)
    assert drafted(tmp_path).values["source"]["entity"] == "flower_id"


def test_without_a_name_the_row_is_the_entity(home: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{k: v for k, v in row.items() if k != "flower_id"} for row in flowers()])
    assert drafted(tmp_path).values["source"]["entity"] is None


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
