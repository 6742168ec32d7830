"""Files of rows: CSV, JSON lines and Parquet, row by row, and nothing of them lost.

A line that cannot be read is a row like the others, one that says so. Memory does not grow with the file.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.errors import BadInput

T = TypeVar("T")

_PARQUET_ROWS = 16_384
"""Rows of a Parquet file in memory at once."""

_LONGEST_FIELD = 1 << 24
"""Characters of a CSV field; more is taken for a quotation mark that was never closed."""


class Row(NamedTuple):
    """A row as received.

    Attributes:
        values: by column; text as CSV has it, JSON types otherwise, times as text. None: the row cannot be read.
        line: the row as canonical JSON (sorted keys, no spaces); of one that cannot be read, its text as a JSON string.
    """

    values: Mapping[str, Any] | None
    line: bytes

    @property
    def text(self) -> str:
        """What stands in the file where the row cannot be read."""
        return json.loads(self.line)


def read_rows(path: Path, name: str | None = None) -> Iterator[Row]:
    """The rows of a ``.csv`` (RFC 4180, UTF-8), ``.jsonl`` or ``.parquet`` file, in its order.

    A row with too few or too many fields, stray quotation marks, broken JSON or characters that are no Unicode cannot
    be read: it has no values.

    Args:
        name: the file's name in messages.

    Raises:
        BadInput: the file is of another kind, has no header or names a column twice, or its Parquet is damaged.
    """
    name = name or str(path)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise BadInput(f"{name} is no table.", f"Give one of {', '.join(_READERS)}.")
    try:
        yield from read(path, name)
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {error.strerror or error}.", "Make the file readable.") from None


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items; the last may be shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def row_of(values: Mapping[str, Any]) -> Row:
    """A row of ``values``.

    Raises:
        UnicodeEncodeError: one of them has characters that are no Unicode.
    """
    return Row(values, _canonical(values))


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Whole numbers of more than 64 bits, and half a surrogate pair.
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str).encode()


def _unread(text: str) -> Row:
    """A row that is only its text; bytes that are no UTF-8 show escaped."""
    return Row(None, _canonical(text.rstrip("\r\n").encode("utf-8", "backslashreplace").decode()))


class _Lines:
    """The lines of a file, with those of the present row at hand, to be read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.taken: list[str] = []
        self._waiting: list[str] = []
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._waiting.pop() if self._waiting else next(self._lines)
        self.taken.append(line)
        return line

    def give_back_all_but_first(self) -> None:
        self._waiting += reversed(self.taken[1:])


def _read_csv(path: Path, name: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, strict=True)
        header = _header(reader, name)
        while True:
            lines.taken.clear()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error:
                # One stray quotation mark can swallow the lines that follow: only the first is given up.
                yield _unread(lines.taken[0])
                lines.give_back_all_but_first()
                reader = csv.reader(lines, strict=True)
                continue
            if fields:
                yield _fields_row(header, fields, lines.taken)


def _fields_row(header: list[str], fields: list[str], lines: list[str]) -> Row:
    if len(fields) == len(header):
        with suppress(UnicodeEncodeError):
            return row_of(dict(zip(header, fields, strict=True)))
    return _unread("".join(lines))


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = [column.strip() or f"column {number}" for number, column in enumerate(next(reader), 1)]
        "".join(header).encode()
    except (StopIteration, csv.Error):
        raise BadInput(f"{name} has no header.", "Name its columns in the first line.") from None
    except UnicodeEncodeError:
        raise BadInput(f"{name} is not UTF-8.", "Save the file as UTF-8.") from None
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise BadInput(f"{name}: the column {twice[0]!r} stands twice in the header.", "Rename one of the two.")
    return header


def _read_json_lines(path: Path, name: str) -> Iterator[Row]:
    constants = {"NaN": None, "Infinity": "inf", "-Infinity": "-inf"}
    loads = json.JSONDecoder(parse_constant=constants.__getitem__).decode
    with path.open(newline="\n", encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                values = loads(line.strip())
            except (ValueError, RecursionError):
                values = line
            yield _json_row(values, line)


def _json_row(values: Any, line: str) -> Row:
    if isinstance(values, dict):
        with suppress(UnicodeEncodeError):
            return row_of(values)
    # The text of a row that was found unreadable before stands as a JSON string.
    return _unread(values if isinstance(values, str) else line)


def _read_parquet(path: Path, name: str) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_PARQUET_ROWS):
                columns = [_plain(column) for column in batch.columns]
                for fields in zip(*columns, strict=True):
                    yield row_of(dict(zip(batch.schema.names, fields, strict=True)))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0]
        raise BadInput(f"{name}: not readable as Parquet: {text}", "Write the file again.") from None


def _plain(column: pa.Array) -> list[Any]:
    """The values as JSON types: times as ISO 8601, decimals as text, bytes as text or hexadecimal; NaN is missing."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.string()).to_pylist()
    if pa.types.is_floating(kind):
        # JSON has no word for infinity: as text it is no number.
        return [
            str(x) if x in (math.inf, -math.inf) else x for x in pc.if_else(pc.is_nan(column), None, column).to_pylist()
        ]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [_decoded(value) for value in column.to_pylist()]
    return column.to_pylist()


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value.hex() if value else None


_READERS: Mapping[str, Callable[[Path, str], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
