"""Files of rows: no row is lost, and what is no row says so."""

import csv
import io
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.errors import BadInput
from tasks.data.readers import batched, read_rows


def read(folder: Path, name: str, content: bytes) -> list[Any]:
    """Values of each row; the text of those that cannot be read."""
    path = folder / name
    path.write_bytes(content)
    return [row.text if row.values is None else dict(row.values) for row in read_rows(path)]


def test_csv_has_quotes_line_breaks_and_commas_in_its_fields(tmp_path: Path) -> None:
    content = 'a,b\r\n"1, 2","say ""hi"""\r\n"two\r\nlines", ä\r\n\r\n,\r\n'.encode()
    assert read(tmp_path, "t.csv", content) == [
        {"a": "1, 2", "b": 'say "hi"'}, {"a": "two\r\nlines", "b": " ä"}, {"a": "", "b": ""}
    ]  # fmt: skip


def test_excels_byte_order_mark_and_blanks_around_column_names_do_not_matter(tmp_path: Path) -> None:
    assert read(tmp_path, "t.CSV", "\ufeffa, b ,\r\n1,2,3\r\n".encode()) == [{"a": "1", "b": "2", "column 3": "3"}]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"1", "1"),
        (b"1,2,3", "1,2,3"),
        (b'"1"x,2', '"1"x,2'),
        (b"caf\xe9,2", "caf\\udce9,2"),
        (b'"open,2', '"open,2'),
    ],
)
def test_a_csv_line_that_cannot_be_read_is_a_row_of_its_own(tmp_path: Path, line: bytes, text: str) -> None:
    content = b"a,b\n1,2\n" + line + b'\n3,"4"\n5,6\n'
    good = [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"a": "5", "b": "6"}]
    assert read(tmp_path, "t.csv", content) == [good[0], text, *good[1:]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=3, max_size=3)))
def test_what_was_written_as_csv_is_read_whatever_it_is(tmp_path: Path, rows: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerows([["a", "b", "c"], *rows])
    found = read(tmp_path, "t.csv", file.getvalue().encode())
    assert [list(row.values()) for row in found] == rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(), st.lists(st.sampled_from([b"1,2", b",", b"\r", b"\n", b"\xff"])).map(b"".join)))
def test_every_line_is_a_row_whatever_bytes_there_are(tmp_path: Path, content: bytes) -> None:
    text = content.decode("utf-8", "surrogateescape")
    assert len(read(tmp_path, "t.jsonl", b"1\n" + content)) == 1 + sum(bool(line.strip()) for line in text.split("\n"))
    lines = re.split("\r\n|\r|\n", text.replace('"', ""))
    assert len(read(tmp_path, "t.csv", b"a,b\n" + content.replace(b'"', b""))) == sum(map(bool, lines))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no header"),
        (b'"a\n', "has no header"),
        (b"a,b, a\n1,2,3\n", "'a' stands twice"),
        (b"\xff\xfea\x00\n\x00", "is not UTF-8"),
    ],
)
def test_a_csv_file_without_a_clear_header_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        read(tmp_path, "t.csv", content)
    assert str(tmp_path / "t.csv") in caught.value.message


def test_json_lines_keep_their_types_and_a_broken_one_is_a_row(tmp_path: Path) -> None:
    lines = [
        '{"b": 1, "a": [true, null]}',
        "",
        '{"a": 1',
        "[1]",
        '"text"',
        '{"a": "\\ud800"}',
        '{"a": NaN}',
        "[" * 9999,
    ]
    assert read(tmp_path, "t.jsonl", "\n".join(lines).encode()) == [
        *({"b": 1, "a": [True, None]}, '{"a": 1', "[1]", "text", '{"a": "\\ud800"}', {"a": None}, "[" * 9999),
    ]


def test_json_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    assert read(tmp_path, "t.jsonl", '{"a": "x\u2028y"}\r\n{"a": "z"}'.encode()) == [{"a": "x\u2028y"}, {"a": "z"}]


def test_parquet_values_come_as_json_types(tmp_path: Path) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "number": [1.5, float("nan")],
            "whole": [3, None],
            "time": pa.array([noon, None], pa.timestamp("ns", "UTC")),
            "day": pa.array([noon.date(), None]),
            "category": pa.array(["a", None]).dictionary_encode(),
            "price": [Decimal("1.10"), None],
            "bytes": [b"abc", b"\xff"],
            "list": [["x"], None],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    first, second = (row.values for row in read_rows(tmp_path / "t.parquet"))
    assert first == {
        "number": 1.5, "whole": 3, "time": "2026-01-01 12:00:00.000000Z", "day": "2026-01-01", "category": "a",
        "price": "1.10", "bytes": "abc", "list": ["x"],
    }  # fmt: skip
    assert second == {**dict.fromkeys(table.column_names), "bytes": "ff"}


def test_parquet_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"t\.parquet: not readable as Parquet"):
        read(tmp_path, "t.parquet", b"PAR1 and no more")


def test_a_file_of_another_kind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, "t.xlsx", b"")
    assert ".parquet" in caught.value.fix


def test_the_line_of_a_row_is_canonical(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"b": "ä", "a": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"a":1,"b":"\\u00e4"}')
    lines = [row.line for name in ("a", "b") for row in read_rows(tmp_path / f"{name}.jsonl")]
    assert lines[0] == lines[1] == '{"a":1,"b":"ä"}'.encode()
    assert json.loads(lines[0]) == {"a": 1, "b": "ä"}


def test_batches_hold_every_item_once() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
