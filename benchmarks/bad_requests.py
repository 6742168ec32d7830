"""Requests that nobody should send, as the bytes on the wire: seeded, so that a find can be repeated.

They ask the projects ``tiny``, of images, and ``people`` and ``prices``, of rows with ``age`` and ``member``.
"""

import base64
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

Make = Callable[[random.Random], "Bad"]

_PATHS = ("/v1/tiny/predict", "/v1/people/predict", "/v1/prices/predict", "/v2/models/tiny/infer")
_FORMS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_WORDS = (
    "instances",
    "entities",
    "image",
    "age",
    "member",
    "label",
    "request_id",
    "inputs",
    "shape",
    "datatype",
    "data",
)


@dataclass(frozen=True)
class Bad:
    """One request.

    Attributes:
        kind: what is bad about it.
        raw: the bytes sent.
        leaves: whether the sender hangs up without waiting for an answer.
    """

    kind: str
    raw: bytes
    leaves: bool = False


def bad_requests(count: int, seed: int, key: str = "") -> Iterator[Bad]:
    """So many requests of all kinds, in turn.

    Args:
        key: an API key that most of them carry.
    """
    make = random.Random(seed)
    kinds: Sequence[Make] = (
        *(_corrupt_image, _corrupt_form, _strange_json, _strange_tensors, _huge_body, _chunked, _bad_key),
        *(_random_bytes, _strange_path, _strange_headers, _left_half_way, _binary_tensors),
    )
    for number in range(count):
        bad = kinds[number % len(kinds)](make)
        raw = bad.raw.replace(b"\r\nhost:", f"\r\nx-api-key: {key}\r\nhost:".encode(), 1) if key else bad.raw
        yield Bad(bad.kind, raw, bad.leaves)


def _request(
    path: str, body: bytes = b"", media: str = "application/json", method: str = "POST", **headers: str
) -> bytes:
    lines = {"host": "x", "connection": "close", "content-type": media, "content-length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + body


def _picture(make: random.Random) -> tuple[bytes, str]:
    """An image, sound but for a few bytes, or cut short."""
    form, file = make.choice(_FORMS), io.BytesIO()
    size = (make.randint(1, 80), make.randint(1, 80))
    Image.frombytes("L", size, make.randbytes(size[0] * size[1])).save(file, form)
    data = bytearray(file.getvalue())
    for _ in range(make.randint(0, 12)):
        data[make.randrange(min(len(data), make.choice((40, len(data)))))] = make.randrange(256)
    return bytes(data[: make.choice((len(data), make.randrange(len(data))))]), f"image/{form.lower()}"


def _corrupt_image(make: random.Random) -> Bad:
    data, media = _picture(make)
    path = make.choice(("/v1/tiny/predict", "/v1/tiny/predict?top_k=-1", "/v1/tiny/explain"))
    if make.random() < 0.3:
        image = base64.b64encode(data).decode()[make.randint(0, 1) :]
        return Bad("corrupt image", _request(path, json.dumps({"instances": [{"image": image}]}).encode()))
    return Bad("corrupt image", _request(path, data, media))


def _corrupt_form(make: random.Random) -> Bad:
    boundary = make.choice(("x", "y" * 80, "", 'a"b', "é"))
    parts = b"".join(
        b"--%s\r\ncontent-disposition: form-data; name=f; filename=%d\r\n%s\r\n\r\n%s\r\n"
        % (boundary.encode(), n, make.choice((b"", b"content-type: image/png")), _picture(make)[0])
        for n in range(make.randint(0, 4))
    )
    body = parts + make.choice((b"", b"--" + boundary.encode() + b"--\r\n", make.randbytes(20)))
    media = make.choice((f"multipart/form-data; boundary={boundary}", "multipart/form-data", "multipart/form-data; b"))
    return Bad("corrupt form", _request("/v1/tiny/predict", body, media))


def _value(make: random.Random, depth: int = 0) -> Any:
    """Some JSON value."""
    plain: list[Any] = [None, True, -1, 0, 1e308, 10**400, "", "\ud800", "a\x00b", "9" * 300, float("nan"), "x" * 5000]
    if depth > 3 or make.random() < 0.5:
        return make.choice(plain)
    if make.random() < 0.5:
        return [_value(make, depth + 1) for _ in range(make.randint(0, 4))]
    return {make.choice((*_WORDS, "\ud800", "")): _value(make, depth + 1) for _ in range(make.randint(0, 4))}


def _strange_json(make: random.Random) -> Bad:
    value = make.choice(
        (_value, lambda make: {"instances": [_value(make, 1)]}, lambda make: {"entities": _value(make)})
    )
    body = json.dumps(value(make)).encode()
    if make.random() < 0.2:
        body = make.choice((b"[" * 50_000, b'{"instances": [' * 9000, body[:-1], body.decode().encode("utf-16")))
    action = make.choice(("predict", "explain", "feedback"))
    project = make.choice(("tiny", "people", "prices"))
    return Bad("strange JSON", _request(f"/v1/{project}/{action}", body))


def _tensor(make: random.Random) -> dict[str, Any]:
    shape = [make.choice((-1, 0, 1, 2, 8, 2**31, 2**63, 10**30, "8")) for _ in range(make.randint(0, 5))]
    datatype = make.choice(("UINT8", "FP32", "FP64", "BOOL", "BYTES", "INT64", "BF16", "", 7))
    return {
        "name": make.choice(("image", "age", "member", "x", None)),
        "shape": make.choice((shape, [1, 8, 8, 1], [1], None)),
        "datatype": datatype,
        "data": make.choice((_value(make), [0] * 64, [50.0], ["aGk="])),
    }


def _strange_tensors(make: random.Random) -> Bad:
    inputs = [_tensor(make) for _ in range(make.randint(0, 3))]
    body = {"inputs": make.choice((inputs, inputs, _value(make))), "outputs": make.choice(([], None, _value(make)))}
    project = make.choice(("tiny", "people", "prices"))
    return Bad("strange tensors", _request(f"/v2/models/{project}/infer", json.dumps(body).encode()))


def _binary_tensors(make: random.Random) -> Bad:
    given = {**_tensor(make), "parameters": {"binary_data_size": make.choice((0, 64, -1, 2**40, "64", None))}}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": make.choice((True, "yes"))}}).encode()
    length = make.choice((len(head), 0, -1, 10**30, "x", len(head) // 2))
    raw = make.randbytes(make.choice((0, 3, 64, 4096)))
    headers = {"inference_header_content_length": str(length)}
    project = make.choice(("tiny", "people"))
    return Bad("binary tensors", _request(f"/v2/models/{project}/infer", head + raw, "application/x", **headers))


def _huge_body(make: random.Random) -> Bad:
    announced = make.choice((65_537, 10**7, 10**12, 2**63, 10**30))
    raw = _request(make.choice(_PATHS), media=make.choice(("image/png", "application/json")))
    return Bad("huge body", raw.replace(b"content-length: 0", b"content-length: %d" % announced))


def _chunked(make: random.Random) -> Bad:
    raw = _request(make.choice(_PATHS), media=make.choice(("image/png", "application/json")))
    raw = raw.replace(b"content-length: 0", b"transfer-encoding: chunked")
    size = make.choice((1, 100, 20_000))
    whole = b"".join(b"%x\r\n%s\r\n" % (size, b"[" * size) for _ in range(make.randint(0, 5))) + b"0\r\n\r\n"
    broken = make.choice(
        (b"-5\r\nhello\r\n", b"zz\r\n", b"fffffffffffffffffff\r\nx", b"5\r\nhello and more\r\n0\r\n\r\n")
    )
    return Bad("chunked", raw + make.choice((whole, whole, broken)))


def _bad_key(make: random.Random) -> Bad:
    # No host: the good key is not put in.
    key = make.choice((make.randbytes(40).hex(), "updraft_" + "A" * 43, "", "x" * 9000, "Bearer", "é\x7f"))
    header = make.choice((f"authorization: Bearer {key}", f"authorization: {key}", f"x-api-key: {key}"))
    head = f"POST {make.choice(_PATHS)} HTTP/1.1\r\n{header}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
    return Bad("bad key", head.encode("latin-1"))


def _random_bytes(make: random.Random) -> Bad:
    data = make.randbytes(make.randint(1, 4000))
    # What could go on is not waited for.
    return Bad("random bytes", data + b"\r\n\r\n\r\n\r\n", leaves=b"\n" not in data)


def _strange_path(make: random.Random) -> Bad:
    parts = (
        "v1",
        "v2",
        "tiny",
        "people",
        "models",
        "predict",
        "infer",
        "versions",
        "..",
        "%2e%2e",
        "%ff",
        "%00",
        "a;b",
    )
    path = "/" + "/".join(make.choice((*parts, "x" * 3000, "")) for _ in range(make.randint(0, 7)))
    path += make.choice(("", "?", "?top_k=9999999999999999999", "?top_k=x&top_k=%ff", "?label=%ed%a0%80", "#x"))
    method = make.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND"))
    return Bad("strange path", _request(path, method=method))


def _strange_headers(make: random.Random) -> Bad:
    strange: Mapping[str, Sequence[str]] = {
        "content_type": ("", ";", "image/png; charset=\xff", "application/json; " + "a" * 5000, "text/plain", "\xff"),
        "x_request_id": ("\xff\xfe", "a b", "x" * 5000, "{}", "../../etc"),
        "content_encoding": ("gzip", "br", "zzz"),
        "expect": ("100-continue", "200-ok"),
        "upgrade": ("websocket", "h2c"),
        "accept": ("text/html", "\xff", "*/*;q=x"),
        "range": ("bytes=0-0",),
    }
    chosen = {name: make.choice(strange[name]) for name in make.sample(sorted(strange), make.randint(1, 4))}
    if "upgrade" in chosen:
        chosen["connection"] = "upgrade, close"
    media = chosen.pop("content_type", "application/json")
    data = make.choice((b"{}", _picture(make)[0], json.dumps(_value(make)).encode()))
    return Bad("strange headers", _request(make.choice(_PATHS), data, media, **chosen))


def _left_half_way(make: random.Random) -> Bad:
    raw = _request(make.choice(_PATHS), _picture(make)[0], "image/png")
    return Bad("left half-way", raw[: make.randrange(1, len(raw))], leaves=True)
