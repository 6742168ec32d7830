"""An id for every request."""

import logging
import re
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("updraft.serving")

REQUEST_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
"""What a caller may name a request."""


class RequestIds:
    """Gives every request an id, the caller's ``X-Request-ID`` or a new one, and says it in the response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # The 500 has gone out; what is left to do is to tell the log.
            log.exception("Request %s failed.", request_id)
