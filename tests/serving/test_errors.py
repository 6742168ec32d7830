"""One shape for whatever goes wrong, also before there is a request; heads and bodies that take too long."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving import protocol
from serving.errors import HANDLERS, Problem
from serving.protocol import Guarded
from serving.request_ids import RequestIds

SECONDS = 0.5
"""That heads and bodies may take here."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server of two routes with the endpoint's own protocol and limits."""

    async def echo(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    async def refuse(request: Request) -> Response:
        raise Problem(503, "tired", "Half a character: \ud800.", retry_after=7)

    async def fail(request: Request) -> Response:
        raise RuntimeError("a secret of ours")

    routes = [Route(path, refuse, methods=["POST"]) for path in ("/refuse", "/v2/refuse", "/v2x")]
    routes += [Route("/echo", echo, methods=["POST"]), Route("/fail", fail), Route("/v2/fail", fail)]
    app = RequestIds(Starlette(routes=routes, exception_handlers=HANDLERS))
    with pytest.MonkeyPatch.context() as patch, socket.socket() as listening:
        patch.setattr(protocol, "HEAD_SECONDS", SECONDS)
        patch.setattr(protocol, "BODY_SECONDS", SECONDS)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, http=Guarded, log_config=None))
        running = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        running.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        running.join()


def exchange(port: int, *parts: bytes, pause: float = 0.0) -> tuple[int, dict[str, str], Any]:
    """Sends the parts one by one and reads to the end of the connection: status, headers, JSON."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, json.loads(body)


def post(path: str, *headers: str, body: bytes = b"") -> bytes:
    """A request after which the connection is closed."""
    lines = (f"POST {path} HTTP/1.1", "host: x", "connection: close", *headers, f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_problem_has_its_code_and_says_when_again(port: int) -> None:
    status, headers, answer = exchange(port, post("/refuse", "x-request-id: mine"))
    assert (status, headers["retry-after"], headers["x-request-id"]) == (503, "7", "mine")
    assert answer == {"error": {"code": "tired", "message": "Half a character: ?.", "request_id": "mine"}}


def test_the_open_inference_protocol_has_its_own_shape(port: int) -> None:
    assert exchange(port, post("/v2/refuse"))[2] == {"error": "Half a character: ?."}
    status, _, answer = exchange(port, post("/v2/unknown"))
    assert status == 404 and isinstance(answer["error"], str)
    assert exchange(port, post("/v2x"))[2]["error"]["code"] == "tired"


@pytest.mark.parametrize("path", ["/fail", "/v2/fail"])
def test_a_fault_of_ours_tells_nothing_of_the_inside(port: int, path: str) -> None:
    status, headers, answer = exchange(port, post(path).replace(b"POST", b"GET"))
    assert status == 500 and headers["x-request-id"]
    assert "secret" not in json.dumps(answer) and "Traceback" not in json.dumps(answer)


def test_an_unknown_path_and_a_wrong_method_say_what_there_is(port: int) -> None:
    status, _, answer = exchange(port, post(f"/{'x' * 5000}"))
    assert (status, answer["error"]["code"]) == (404, "not_found")
    assert len(answer["error"]["message"]) < 500 and "GET /" in answer["error"]["message"]
    status, headers, answer = exchange(port, post("/echo").replace(b"POST", b"PUT"))
    assert (status, headers["allow"], answer["error"]["code"]) == (405, "post", "method_not_allowed")
    assert "takes POST" in answer["error"]["message"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"POST /echo HTTP/1.1\r\nno colon here\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_answered_in_the_same_shape(port: int, sent: bytes) -> None:
    status, headers, answer = exchange(port, sent)
    assert (status, answer["error"]["code"], headers["connection"]) == (400, "bad_http", "close")
    assert answer["error"]["request_id"] == headers["x-request-id"]


def test_a_head_that_never_ends_is_cut_off(port: int) -> None:
    endless = b"POST /echo HTTP/1.1\r\nx: " + b"y" * protocol.HEAD_BYTES
    status, _, answer = exchange(port, endless)
    assert (status, answer["error"]["code"]) == (431, "head_too_large")


def test_a_head_that_trickles_in_is_refused_and_a_silent_connection_closed(port: int) -> None:
    status, _, answer = exchange(port, b"POST /echo HTTP/1.1\r\n", b"x: 1\r\n", pause=0.1)
    assert (status, answer["error"]["code"]) == (408, "head_too_slow")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        assert connection.recv(1) == b""


def test_a_body_that_trickles_in_is_refused(port: int) -> None:
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
    status, headers, answer = exchange(port, head, b"a few", b" bytes")
    assert (status, answer["error"]["code"], headers["connection"]) == (408, "body_too_slow", "close")
    chunked = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    assert exchange(port, chunked)[0] == 408


def test_what_was_answered_before_its_body_came_is_answered_once(port: int) -> None:
    head = b"POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
    status, _, answer = exchange(port, head, b"a few bytes")
    assert (status, answer["error"]["code"]) == (503, "tired")


def test_the_second_request_of_a_connection_has_its_time_again(port: int) -> None:
    whole = post("/echo", body=b"hello").replace(b"connection: close\r\n", b"")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for _ in range(4):
            time.sleep(SECONDS / 2)
            connection.sendall(whole)
            assert connection.recv(65536).endswith(b'{"bytes":5}')
