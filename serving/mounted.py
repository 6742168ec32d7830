"""What the two BentoML services share: their lean configuration, and the place where the application is mounted."""

import logging
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

LEAN: dict[str, Any] = {
    "workers": 1,
    "traffic": {"timeout": 60},
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
    "tracing": {"sample_rate": 0.0},
}
"""BentoML's own access log, metrics and tracing cost more than a small model's prediction; they are off."""


class Mounted:
    """Stands where BentoML mounts an application until the service's instance, in its worker, has made it.

    It is no Starlette application on purpose: into one of those BentoML looks for a route first, and answers unknown
    paths itself, in its own words.
    """

    _app: ASGIApp

    def mount(self, app: ASGIApp) -> None:
        """Puts the application in place, and our log lines where BentoML's go."""
        self._app = app
        log = logging.getLogger("updraft")
        log.setLevel(logging.INFO)
        for handler in logging.getLogger("bentoml").handlers:
            log.addHandler(handler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await self._app(scope, receive, send)
