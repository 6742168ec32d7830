"""HTTP as it comes off a connection: what cannot be parsed, and heads and bodies that take too long.

The server, uvicorn, answers the first in plain text and waits for the others for ever. Looking here costs a request
that arrives whole nothing.
"""

import asyncio
import json
import logging
import os
import socket
import uuid
from http import HTTPStatus
from typing import Any

import psutil
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""In which a request line and its headers have to be whole."""

HEAD_BYTES = 128 * 1024
"""That they may have."""

BODY_SECONDS = 30.0
"""In which a body has to be whole, from the end of the headers on."""


_DEFERRED_SECONDS = 1
"""After which a connection is handed over though nothing came on it."""


class Guarded(HttpToolsProtocol):
    """uvicorn's protocol, with errors in our shape, and limits on how long a request may take to arrive."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = _in_body = False
    _seen = 0

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self._in_head = True
        self._timer = self.loop.call_later(HEAD_SECONDS, self._is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        if not (self._in_head or self._in_body) or self.transport.is_closing():
            return
        if self._in_head:
            self._seen += len(data)
            if self._seen > HEAD_BYTES:
                return self._refuse(
                    431, "head_too_large", f"The headers have more than {HEAD_BYTES} bytes. Send fewer."
                )
        if self._timer is None:
            seconds = HEAD_SECONDS if self._in_head else BODY_SECONDS
            self._timer = self.loop.call_later(seconds, self._is_late)

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._stop_timer()
        self._in_head, self._in_body, self._seen = False, True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._stop_timer()
        self._in_body = False
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        # No route speaks WebSocket, and whoever asked for one with a body would wait for ever.
        return False

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers where it cannot parse."""
        self._refuse(400, "bad_http", f"{msg} Send HTTP/1.1, with every header on a line of its own.")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_late(self) -> None:
        self._timer = None
        if self._in_body:
            said = f"The body was not whole within {BODY_SECONDS:g} s. Send it faster, or less of it."
            self._refuse(408, "body_too_slow", said)
        elif self._seen:
            self._refuse(
                408, "head_too_slow", f"The headers were not whole within {HEAD_SECONDS:g} s. Send them faster."
            )
        self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers, unless this request or an earlier one has an answer already, or will have, and closes."""
        cycle = self.cycle
        is_free = cycle is None or (not cycle.response_started if self._in_body else cycle.response_complete)
        if is_free and not self.pipeline:
            request_id = uuid.uuid4().hex
            body = json.dumps({"error": {"code": code, "message": message, "request_id": request_id}}).encode()
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def guard_connections() -> None:
    """Has uvicorn, which BentoML starts in each worker, use `Guarded`."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Guarded.__name__}"
    # They write a line for each request that they cannot parse: whoever sends those could fill the disk.
    for name in ("uvicorn.error", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Without a handler in sight uvicorn prepares no line of its own for each request.
    logging.getLogger("uvicorn.access").propagate = False


def accept_when_asked() -> None:
    """Has the system hand over a connection when its first request is there (``TCP_DEFER_ACCEPT``, tcp(7)).

    The workers listen on one socket. One that is waiting would take all connections that a client opens at once, to
    keep them for as long as they live, while the others have nothing to do. With a request there is work, too: whoever
    is busy with it takes the next connection later than the others. Where a system does not know this, nothing changes.
    """
    if not hasattr(socket, "TCP_DEFER_ACCEPT"):
        return
    for connection in psutil.Process().net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN:
            with socket.socket(fileno=os.dup(connection.fd)) as listening:
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFERRED_SECONDS)
