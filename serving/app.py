"""The endpoint's HTTP interface, as an ASGI application that BentoML mounts: its protocols and ``GET /``."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from serving.errors import HANDLERS
from serving.models import Models
from serving.request_ids import RequestIds
from serving.v1 import V1
from tasks.runtime.installation import installation
from tasks.runtime.requests import RequestLog


def application(models: Models, log: RequestLog) -> ASGIApp:
    """The ASGI application.

    Args:
        models: where the live ones are looked up.
        log: gets every prediction and feedback.
    """

    async def index(request: Request) -> Response:
        """What is served here: project to its live version, or null."""
        found = {name: models.live(name) for name in models.names()}
        versions = {name: live and live.version for name, live in found.items()}
        return JSONResponse({"service": "updraft", "installation": installation(), "projects": versions})

    routes = [Route("/", index, methods=["GET"]), *V1(models, log).routes()]
    return RequestIds(Starlette(routes=routes, exception_handlers=HANDLERS))
