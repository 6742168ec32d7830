"""A web server that keeps what it is sent: where notifications of tests go."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Inbox:
    """The JSON messages received so far.

    Attributes:
        address: Apprise's, to send messages here.
        status: what the server answers.
    """

    address: str = ""
    status: int = 200
    messages: list[Any] = field(default_factory=list)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A server of the test's own."""
    found = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.messages.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.address = f"json://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()
