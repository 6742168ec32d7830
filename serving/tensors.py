"""Tensors of the Open Inference Protocol: as JSON, and as bytes behind the JSON (its binary tensor extension)."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import Problem

TYPES: Mapping[str, Any] = {
    "BOOL": np.bool_,
    **{f"{kind}INT{bits}": np.dtype(f"{kind.lower()}int{bits}") for kind in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.object_,
}
"""Datatype to NumPy's; of BYTES the elements are bytes, or str where JSON brought them."""

_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""Kind of a datatype to the kinds of JSON values that may become it."""

_LENGTH = struct.Struct("<I")

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """The body of an inference request.

    Attributes:
        id: the caller's name for it, "" for none.
        tensors: input's name to its values, of the shape announced.
        outputs: wanted output's name to its parameters; none: all of them are wanted.
        binary: whether outputs come as bytes unless their own parameters say otherwise.
    """

    id: str
    tensors: Mapping[str, np.ndarray]
    outputs: Mapping[str, Fields]
    binary: bool


def read_asked(body: bytes, header: int | None) -> Asked:
    """Reads a request.

    Args:
        header: how many bytes of the body are JSON; None: all.

    Raises:
        Problem: 400 it is not as the protocol wants it.
    """
    if header is not None and header > len(body):
        raise _bad(f"Inference-Header-Content-Length is {header}, and the body has {len(body)} bytes")
    try:
        value = json.loads(body[:header])
    except (ValueError, RecursionError):
        raise _bad("the request is not valid JSON") from None
    if not isinstance(value, dict):
        raise _bad("the request must be a JSON object")
    rest = memoryview(b"" if header is None else body[header:])
    tensors: dict[str, np.ndarray] = {}
    for entry in _objects(value, "inputs"):
        name, size = entry["name"], _parameters(entry).get("binary_data_size")
        if size is not None and not (type(size) is int and 0 <= size <= len(rest)):
            raise _bad(f"input {_shown(name)}: binary_data_size is {_shown(size)}, and {len(rest)} bytes are left")
        tensors[name] = _tensor(entry, None if size is None else rest[:size])
        rest = rest[size or 0 :]
    if len(rest):
        raise _bad(f"{len(rest)} bytes of the body belong to no input")
    wanted = {entry["name"]: _parameters(entry) for entry in _objects(value, "outputs", needed=False)}
    return Asked(_id(value), tensors, wanted, _parameters(value).get("binary_data_output") is True)


def write_answer(described: Fields, outputs: Mapping[str, np.ndarray], asked: Asked) -> tuple[bytes, int | None]:
    """The body of a response, and how many bytes of it are JSON, if not all.

    Args:
        described: the fields beside the outputs.
        outputs: all there are: float32, or object arrays of str.

    Raises:
        Problem: 400 there is no such output.
    """
    wanted = asked.outputs or {name: {} for name in outputs}
    unknown = [name for name in wanted if name not in outputs]
    if unknown:
        raise _bad(f"there is no output {_shown(unknown[0])}; known: {', '.join(outputs)}")
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, parameters in wanted.items():
        values = outputs[name]
        datatype = "BYTES" if values.dtype.hasobject else "FP32"
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(values.shape)}
        if parameters.get("binary_data", asked.binary) is True:
            parts.append(_pack(values))
            entries.append({**entry, "parameters": {"binary_data_size": len(parts[-1])}})
        else:
            entries.append({**entry, "data": values.ravel().tolist()})
    head = json.dumps({**described, "outputs": entries}, separators=(",", ":")).encode()
    return b"".join([head, *parts]), len(head) if parts else None


def _tensor(entry: Fields, raw: memoryview | None) -> np.ndarray:
    name, datatype, shape = entry["name"], entry.get("datatype"), entry.get("shape")
    if not isinstance(datatype, str) or datatype not in TYPES:
        raise _bad(f"input {_shown(name)}: datatype {_shown(datatype)} is none of {', '.join(TYPES)}")
    if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 2**31 for side in shape):
        raise _bad(f"input {_shown(name)}: shape must be a list of whole numbers")
    found = _from_json(name, datatype, entry.get("data")) if raw is None else _from_bytes(name, datatype, raw)
    if math.prod(shape) != found.size or not shape:
        raise _bad(f"input {_shown(name)}: {found.size} values do not fill the shape {shape}")
    return found.reshape(shape)


def _from_json(name: str, datatype: str, data: Any) -> np.ndarray:
    if not isinstance(data, list):
        raise _bad(f"input {_shown(name)} has neither data nor binary_data_size")
    target = np.dtype(TYPES[datatype])
    try:
        if target.hasobject:
            return _texts(np.array(data, object))
        found = np.array(data)
        if found.dtype == object and target.kind == "f":
            found = np.array(data, np.float64)  # null is no number
        if found.size and found.dtype.kind not in _KINDS[target.kind]:
            raise ValueError
        if target.kind in "iu" and found.size and not _within(found, target):
            raise ValueError
        return found.astype(target)
    except (ValueError, TypeError, OverflowError):
        raise _bad(f"input {_shown(name)}: data is not {datatype}") from None


def _texts(found: np.ndarray) -> np.ndarray:
    if not all(value is None or isinstance(value, str) for value in found.flat):
        raise ValueError
    return found


def _within(found: np.ndarray, target: np.dtype[Any]) -> bool:
    limits = np.iinfo(target)
    return int(found.min()) >= limits.min and int(found.max()) <= limits.max


def _from_bytes(name: str, datatype: str, raw: memoryview) -> np.ndarray:
    if datatype == "BYTES":
        return _unpack(name, raw)
    target = np.dtype(TYPES[datatype])
    if len(raw) % target.itemsize:
        raise _bad(f"input {_shown(name)}: {len(raw)} bytes are no whole number of {datatype}")
    found = np.frombuffer(raw, target.newbyteorder("<"))
    # A byte other than 0 and 1 is true, too, but not to everything that would read it.
    return found.view(np.uint8) != 0 if datatype == "BOOL" else found.astype(target, copy=False)


def _unpack(name: str, raw: memoryview) -> np.ndarray:
    """Elements that each follow their length, 4 bytes, little-endian."""
    found, place = [], 0
    while place < len(raw):
        start = place + _LENGTH.size
        place = start + _LENGTH.unpack_from(raw, place)[0] if start <= len(raw) else len(raw) + 1
        if place > len(raw):
            raise _bad(f"input {_shown(name)}: an element is longer than what is left of its bytes")
        found.append(bytes(raw[start:place]))
    array = np.empty(len(found), object)
    array[:] = found
    return array


def _pack(values: np.ndarray) -> bytes:
    if values.dtype != object:
        return values.astype("<f4").tobytes()
    texts = [str(value).encode() for value in values.ravel()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _objects(value: Fields, field: str, *, needed: bool = True) -> Sequence[Fields]:
    """The list of named objects under ``field``."""
    found = value.get(field, [])
    fits = isinstance(found, list) and all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in found)
    if not fits or (needed and not found):
        raise _bad(f'{field} must be a list of objects, each with its "name"')
    if len({entry["name"] for entry in found}) < len(found):
        raise _bad(f"{field} names one twice")
    return found


def _parameters(value: Fields) -> Fields:
    found = value.get("parameters", {})
    if not isinstance(found, dict):
        raise _bad("parameters must be an object")
    return found


def _id(value: Fields) -> str:
    found = value.get("id", "")
    if not isinstance(found, str):
        raise _bad("id must be a text")
    return found


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _bad(what: str) -> Problem:
    return Problem(400, "bad_tensors", f"The request cannot be read: {what}.")
