"""How Feast spells entities, values and times in an online store, read and written without Feast.

Keys are Feast's serialization 3 of one string entity. Values and times are protocol buffers
(``feast.types.Value`` and ``google.protobuf.Timestamp``), of which the few fields that occur are read here; the tests
hold every function against Feast itself.
"""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

ENTITY = b"entity"
"""The join key of every project."""

_STRING = 2  # of feast.types.ValueType
_STRINGS, _FLOATS = 12, 16  # fields of feast.types.Value: string_list_val, float_list_val
_VARINT, _LENGTH = 0, 2  # wire types


def entity_key(entity: str) -> bytes:
    """The key under which an entity is stored."""
    parts = [struct.pack("<I", 1)]
    for text in (ENTITY, entity.encode()):
        parts += [struct.pack("<II", _STRING, len(text)), text]
    return b"".join(parts)


def decode_value(message: bytes) -> np.ndarray | None:
    """A list of floats as float32 (F,), one of strings as an object array (F,); None of an empty value."""
    for field, value in _fields(message):
        if field == _FLOATS:
            numbers = b"".join(packed for _, packed in _fields(value))
            return np.frombuffer(numbers, "<f4").astype(np.float32)
        if field == _STRINGS:
            return np.array([text.decode() for _, text in _fields(value)], object)
    return None


def decode_time(message: bytes) -> datetime:
    """A timestamp, UTC, to the microsecond."""
    parts = {field: int.from_bytes(value, "little") for field, value in _fields(message)}
    return datetime.fromtimestamp(parts.get(1, 0), UTC).replace(microsecond=parts.get(2, 0) // 1000)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field; that of a varint as little-endian bytes.

    Raises:
        ValueError: there is a wire type that none of these messages has.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        content, position = _varint(message, position)
        if wire == _VARINT:
            yield number, content.to_bytes(8, "little")
        elif wire == _LENGTH:
            yield number, message[position : position + content]
            position += content
        else:
            raise ValueError(f"wire type {wire} in a value of Feast")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at ``position``, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
