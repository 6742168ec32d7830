"""Ingestion of tables: typed columns, drift of the schema, and files of several kinds."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.artifacts import digest_bytes
from tasks.core.config import replace
from tasks.core.errors import BadInput
from tests.data.conftest import DAY, NOON, Source, table_spec

COLUMNS = {"size": "number", "town": "category", "note": "text", "seen": "time", "sold": "boolean"}
ROW = {
    "id": "e1",
    "label": "yes",
    "event_time": NOON,
    "size": "1.5",
    "town": "Łódź",
    "note": "",
    "seen": DAY,
    "sold": "no",
}


@pytest.fixture
def table(source: Source) -> Source:
    source.spec = table_spec(source.folder.parent, COLUMNS)
    return source


def write_csv(source: Source, rows: Sequence[Mapping[str, Any]], name: str = "rows.csv") -> None:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    (source.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_row_is_typed_and_its_file_is_archived(table: Source) -> None:
    write_csv(table, [ROW])
    (row,) = table.rows(table.run("ingest"))
    data = (table.folder / "rows.csv").read_bytes()
    assert row == {
        "row_id": 0,
        "entity": "e1",
        "event_time": datetime.fromisoformat(NOON),
        "known_time": None,
        "label": "yes",
        "digest": digest_bytes(json.dumps(ROW, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()),
        "uri": f"trades/raw/date={DAY}/{digest_bytes(data)}.csv",
        "defect": None,
        "detail": None,
        "size": 1.5,
        "town": "Łódź",
        "note": None,
        "seen": datetime.fromisoformat(f"{DAY}T00:00:00Z"),
        "sold": False,
    }
    assert table.store.read_bytes(row["uri"]) == data


def test_the_files_of_a_partition_are_one_table_in_the_order_of_their_names(
    table: Source, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "updraft")
    write_csv(table, [ROW | {"id": "from csv"}], "b.csv")
    native = ROW | {"size": 1.5, "sold": False}
    (table.folder / "c.jsonl").write_text(json.dumps(native | {"id": "from json"}) + "\n{\n")
    pq.write_table(pa.Table.from_pylist([native | {"id": "from parquet"}]), table.folder / "a.parquet")
    (table.folder / "deep").mkdir()
    write_csv(table, [ROW], "deep/not-meant.csv")
    (table.folder / "_SUCCESS").touch()
    (table.folder / "README.txt").touch()
    manifest = table.run("ingest")
    rows = table.rows(manifest)
    assert [row["entity"] for row in rows] == ["from parquet", "from csv", "from json", None]
    assert [row["row_id"] for row in rows] == [0, 1, 2, 3]
    assert [row["defect"] for row in rows] == [None, None, None, "malformed_row"]
    assert len({(row["size"], row["town"], row["seen"], row["sold"]) for row in rows[:3]}) == 1
    assert "3 files are no data" in caplog.text
    assert manifest.metrics["schema"] == {"added": [], "removed": [], "retyped": []}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"size": "big"}, 'size: "big"'),
        ({"seen": "soon"}, 'seen: "soon"'),
        ({"sold": "maybe"}, 'sold: "maybe"'),
        ({"size": "x" * 300}, 'size: "' + "x" * 192 + "…"),
    ],
)
def test_a_value_of_another_type_is_a_defect_that_names_it(table: Source, change: dict[str, str], detail: str) -> None:
    write_csv(table, [ROW, ROW | change, ROW])
    rows = table.rows(table.run("ingest"))
    assert [row["defect"] for row in rows] == [None, "wrong_type", None]
    assert rows[1]["detail"] == detail
    assert rows[1][next(iter(change))] is None


def test_drift_is_told_and_marks_the_rows_of_its_file(table: Source) -> None:
    write_csv(table, [ROW] * 2, "a.csv")
    without = {name: value for name, value in ROW.items() if name != "town"}
    write_csv(table, [without | {"colour": "red"}] * 2, "b.csv")
    write_csv(table, [ROW | {"size": "big"}, ROW | {"size": "small"}, ROW], "c.csv")
    (table.folder / "d.csv").write_text(",".join(without) + "\nx\n")
    manifest = table.run("ingest")
    assert manifest.metrics["schema"] == {"added": ["colour"], "removed": ["town"], "retyped": ["size"]}
    rows = table.rows(manifest)
    assert [row["defect"] for row in rows] == [
        *(None, None, "column_removed", "column_removed"),
        *("column_retyped", "column_retyped", "column_retyped", "malformed_row"),
    ]
    assert rows[2]["detail"].startswith("town; b.csv has id, label")
    assert rows[4]["detail"] == "size: 2 of 3 values in c.csv are no number"
    assert manifest.metrics["defects"] == 6


def test_a_parquet_column_that_cannot_hold_its_type_is_retyped(table: Source) -> None:
    rows = [ROW | {"size": 1.5, "sold": True, "seen": 17}] * 3
    pq.write_table(pa.Table.from_pylist(rows), table.folder / "rows.parquet")
    manifest = table.run("ingest")
    assert manifest.metrics["schema"]["retyped"] == ["seen"]
    assert {row["defect"] for row in table.rows(manifest)} == {"column_retyped"}


def test_a_json_key_that_only_some_rows_lack_is_null_there(table: Source) -> None:
    short = {name: value for name, value in ROW.items() if name != "town"}
    (table.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, (ROW, short))))
    manifest = table.run("ingest")
    assert [(row["town"], row["defect"]) for row in table.rows(manifest)] == [("Łódź", None), (None, None)]
    assert manifest.metrics["schema"]["removed"] == []


def test_without_an_entity_the_row_is_its_own_name(table: Source) -> None:
    spec = table_spec(table.folder.parent, COLUMNS, entity=None)
    write_csv(table, [{name: value for name, value in ROW.items() if name != "id"}])
    (row,) = table.rows(table.run("ingest", spec=spec))
    assert row["entity"] == row["digest"]


def test_a_source_of_one_partition_stands_at_its_root(table: Source) -> None:
    spec = table_spec(table.folder.parent, COLUMNS, partitions="single", files="*.csv")
    write_csv(table, [ROW], "../rows.csv")
    (row,) = table.rows(table.run("ingest", spec=spec))
    assert row["entity"] == "e1"


def test_a_table_with_a_header_alone_is_published_empty(table: Source, caplog: pytest.LogCaptureFixture) -> None:
    write_csv(table, [ROW])
    first, *_ = (table.folder / "rows.csv").read_text().splitlines()
    (table.folder / "rows.csv").write_text(first)
    manifest = table.run("ingest")
    assert (manifest.rows.received, table.rows(manifest)) == (0, [])
    assert "no rows" in caplog.text


def test_a_partition_without_a_file_that_matches_is_bad_input(table: Source) -> None:
    (table.folder / "rows.xlsx").touch()
    spec = table_spec(table.folder.parent, COLUMNS, files="*.csv")
    with pytest.raises(BadInput, match=r"holds no file '\*\.csv'") as caught:
        table.run("ingest", spec=spec)
    assert "rows.xlsx" in caught.value.fix


def test_a_table_that_is_a_link_out_of_the_source_is_not_read(table: Source, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("id\n1\n")
    (table.folder / "rows.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(BadInput, match=r"rows\.csv cannot be read: .* leads out"):
        table.run("ingest")


def test_many_batches_give_what_one_gives(table: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(table, [ROW | {"id": f"e{number}", "size": number if number % 7 else "bad"} for number in range(50)])
    write_csv(table, [{name: value for name, value in ROW.items() if name != "town"}] * 20, "z.csv")
    whole = table.rows(table.run("ingest"))
    monkeypatch.setattr("tasks.data.ingest._TABLE_ROWS", 7)
    # Another spec, another key: the stage runs again.
    again = table.rows(table.run("ingest", spec=replace(table.spec, {"end": "2030-01-01"})))
    assert again == whole
    assert [row["row_id"] for row in again] == list(range(70))
