"""What the two BentoML services share: their lean configuration, and the place where the application is mounted."""

import gc
import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.protocol import guard_connections

T = TypeVar("T")

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def lean(workers: int) -> dict[str, Any]:
    """The configuration of a service of so many processes, without what nobody would see (`in_place`)."""
    return {
        "workers": workers,
        "metrics": {"enabled": False},
        "logging": {"access": {"enabled": False}},
        "tracing": {"sample_rate": 0.0},
    }


class Mounted:
    """Stands where the application will be as soon as the service's instance, in its worker, has made it."""

    _app: ASGIApp

    def mount(self, app: ASGIApp) -> None:
        """Puts the application in place, and our log lines where BentoML's go."""
        self._app = app
        log = logging.getLogger("updraft")
        log.setLevel(logging.INFO)
        for handler in logging.getLogger("bentoml").handlers:
            log.addHandler(handler)
        log.propagate = False  # the root logger has such a handler, too

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await self._app(scope, receive, send)


class _InPlace:
    """A middleware of BentoML's application that puts ``ours`` in its place as soon as it starts.

    BentoML's own middlewares would cost each request more than a small model's prediction; the one that limits the time
    cannot be turned off, and keeps a timer for a minute after each request.
    """

    def __init__(self, app: ASGIApp, ours: ASGIApp) -> None:
        self._app, self._ours = app, ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI. Start and stop stay BentoML's; requests come here no more after that."""
        scope["app"].middleware_stack = self._ours
        await self._app(scope, receive, send)


def in_place(ours: ASGIApp) -> Callable[[T], T]:
    """Decorates a BentoML service: ``ours`` answers in place of its routes, health checks, schema and pages."""

    def decorated(service: T) -> T:
        cast(Any, service).add_asgi_middleware(_InPlace, ours=ours)
        guard_connections()
        return service

    return decorated


def spare_garbage_collection() -> None:
    """Has the collector pass over what is there for good: what a worker has imported stops it for 80 ms."""
    gc.collect()
    gc.freeze()


def pin_threads() -> None:
    """Has the libraries compute in the thread that asks: workers run side by side, and their threads would fight."""
    import cv2

    cv2.setNumThreads(1)
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
