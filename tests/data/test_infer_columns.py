"""What is inferred of columns: their types, rules, classes and roles."""

from pathlib import Path
from typing import Any

from tasks.data.infer import Draft
from tests.data.drafts import columns, drafted, flowers, picture, write_csv, write_jsonl


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
