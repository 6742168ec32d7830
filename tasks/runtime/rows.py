"""What a table's values are: columns of CSV text, JSON or Parquet values become typed Arrow columns.

One reading for ingestion and for the endpoint's JSON rows, whatever stands in the neighbouring rows: a value alone
gives what it gives among a million.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

STAMP = pa.timestamp("us", "UTC")

TYPES: Mapping[str, pa.DataType] = {
    "number": pa.float64(),
    "category": pa.string(),
    "text": pa.string(),
    "time": STAMP,
    "boolean": pa.bool_(),
}
"""A column's type in the spec to its type in Arrow."""

TRUE = ("true", "t", "yes", "y", "1")
FALSE = ("false", "f", "no", "n", "0")

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_LEAP_YEAR = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    r"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    rf"|02-(?:0[1-9]|1\d|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"
_ZONE = r"(?:Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)"
_LOCAL_TIME = rf"^{_DATE}(?:[T ]{_CLOCK})?$"
_ZONED_TIME = rf"^{_DATE}[T ]{_CLOCK}{_ZONE}$"
_WHOLE = 2.0**53


def parse(values: pa.Array | pa.ChunkedArray | Sequence[Any], type: str) -> tuple[pa.Array, np.ndarray]:
    """Reads a column as the spec's ``type``: number, category, text, time or boolean.

    Null, blank text and (for numbers) NaN are missing, not wrong. A number is finite, and no boolean. A boolean is
    spelled as in `TRUE` and `FALSE`, in any case. A time is ISO 8601, UTC if it names no zone. A category or text is
    kept as it stands; a number becomes its shortest digits (3 and 3.0 are "3"), a boolean "true" or "false".

    Args:
        values: text (CSV) or native values (JSON, Parquet); a list may mix them.

    Returns:
        An array of `TYPES` [type], null where the value is missing or wrong, and a bool array: which were wrong.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _parse_array(_plain(values), type)
    parts: dict[pa.DataType | None, tuple[list[int], list[Any]]] = {}
    for position, value in enumerate(values):
        kind, native = _native(value)
        positions, members = parts.setdefault(kind, ([], []))
        positions.append(position)
        members.append(native)
    if not parts:
        return pa.array([], TYPES[type]), np.zeros(0, bool)
    if len(parts) == 1:
        ((kind, (_, members)),) = parts.items()
        return _parse_members(members, kind, type)
    done = [_parse_members(members, kind, type) for kind, (_, members) in parts.items()]
    back = np.argsort(np.concatenate([positions for positions, _ in parts.values()]))
    return pa.concat_arrays([array for array, _ in done]).take(pa.array(back)), np.concatenate([w for _, w in done])[
        back
    ]


def _parse_members(members: list[Any], kind: pa.DataType | None, type: str) -> tuple[pa.Array, np.ndarray]:
    if kind is None:
        return pa.nulls(len(members), TYPES[type]), np.ones(len(members), bool)
    return _parse_array(pa.array(members, kind), type)


def _parse_array(array: pa.Array, type: str) -> tuple[pa.Array, np.ndarray]:
    parsed = _READERS[type](array)
    if not parsed.null_count:
        return parsed, np.zeros(len(parsed), bool)
    wrong = pc.and_(pc.invert(_missing(array)), pc.is_null(parsed))
    return parsed, wrong.to_numpy(zero_copy_only=False)


def _native(value: Any) -> tuple[pa.DataType | None, Any]:
    """The Arrow type of a Python value and the value as Arrow takes it; no type: nothing that a column can hold."""
    if value is None or isinstance(value, bool):
        return (pa.null() if value is None else pa.bool_()), value
    if isinstance(value, int):
        return (pa.int64(), value) if -(2**63) <= value < 2**63 else _native(Decimal(value))
    if isinstance(value, float):
        return pa.float64(), value
    if isinstance(value, Decimal):
        return pa.string(), str(value)
    if isinstance(value, str):
        # JSON may spell half a surrogate pair, which no UTF-8 column can hold.
        return (None if any("\ud800" <= c <= "\udfff" for c in value) else pa.string()), value
    if isinstance(value, datetime):
        return STAMP, value
    return (pa.date32() if isinstance(value, date) else None), value


def _plain(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of few types: whatever is spelled in text as string."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type) or pa.types.is_decimal(array.type):
        return array.cast(pa.string())
    return array


def _missing(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(array), ""), True)
    return pc.is_null(array, nan_is_null=pa.types.is_floating(array.type))


def _keep(array: pa.Array, where: pa.Array) -> pa.Array:
    """The array, null where ``where`` is false or null."""
    return pc.if_else(where, array, pa.scalar(None, array.type))


def _number(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        trimmed = pc.utf8_trim_whitespace(array)
        array = _keep(trimmed, pc.match_substring_regex(trimmed, _NUMBER)).cast(pa.float64())
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        array = array.cast(pa.float64(), safe=False)
    else:
        return pa.nulls(len(array), pa.float64())
    return _keep(array, pc.is_finite(array))


def _boolean(array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        return array
    if pa.types.is_string(array.type):
        spelled = pc.utf8_lower(pc.utf8_trim_whitespace(array))
        true, false = (pc.is_in(spelled, pa.array(words)) for words in (TRUE, FALSE))
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        true, false = pc.equal(array, 1), pc.equal(array, 0)
    else:
        return pa.nulls(len(array), pa.bool_())
    return _keep(true, pc.or_(true, false))


def _text(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        return _keep(array, pc.invert(_missing(array)))
    if pa.types.is_floating(array.type):
        array = _keep(array.cast(pa.float64()), pc.is_finite(array))
        whole = _keep(array, pc.and_(pc.equal(array, pc.round(array)), pc.less(pc.abs(array), _WHOLE)))
        return pc.coalesce(whole.cast(pa.int64()).cast(pa.string()), array.cast(pa.string()))
    known = pa.types.is_integer(array.type) or pa.types.is_boolean(array.type) or pa.types.is_temporal(array.type)
    return array.cast(pa.string()) if known else pa.nulls(len(array), pa.string())


def _time(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        array = _spelled_time(array)
    elif pa.types.is_date(array.type):
        array = _within(array, pa.scalar(date.min, array.type), pa.scalar(date.max, array.type)).cast(
            pa.timestamp("us")
        )
    elif not pa.types.is_timestamp(array.type):
        return pa.nulls(len(array), STAMP)
    # Nanoseconds end in 2262; coarser units reach years that no Python datetime has.
    if array.type.unit != "ns":
        first, last = (pa.scalar(edge.replace(microsecond=0)).cast(pa.timestamp(array.type.unit, array.type.tz))
                       for edge in (datetime.min, datetime.max))  # fmt: skip
        array = _within(array, first, last)
    return array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(STAMP)


def _spelled_time(array: pa.Array) -> pa.Array:
    """Text as naive or UTC microseconds; pandas and others write nanoseconds, whose end is cut off."""
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(array), r"(\.\d{6})\d{1,3}", r"\1")
    local = _keep(text, pc.match_substring_regex(text, _LOCAL_TIME)).cast(pa.timestamp("us"))
    zoned = _keep(text, pc.match_substring_regex(text, _ZONED_TIME)).cast(STAMP)
    stamps = pc.coalesce(local.cast(STAMP), zoned)
    return _keep(stamps, pc.invert(pc.starts_with(text, "0000")))


def _within(array: pa.Array, first: pa.Scalar, last: pa.Scalar) -> pa.Array:
    return _keep(array, pc.and_(pc.greater_equal(array, first), pc.less_equal(array, last)))


_READERS: Mapping[str, Callable[[pa.Array], pa.Array]] = {
    "number": _number,
    "category": _text,
    "text": _text,
    "time": _time,
    "boolean": _boolean,
}
