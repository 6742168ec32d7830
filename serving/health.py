"""What a supervisor asks: is the process alive, and should it get requests yet."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.errors import Problem
from serving.models import Models


class Health:
    """``/livez`` (also ``/healthz``) and ``/readyz``.

    A worker is ready once it has looked at every champion there is: each answers, waits outside the memory budget until
    somebody asks, or is damaged and named in the log. A damaged one does not keep the others from answering.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """What it answers."""
        alive = [Route(path, self.live, methods=["GET"]) for path in ("/livez", "/healthz")]
        return [*alive, Route("/readyz", self.ready, methods=["GET"])]

    async def live(self, request: Request) -> Response:
        """The process answers: that is all."""
        return JSONResponse({"status": "live"})

    async def ready(self, request: Request) -> Response:
        """Whether requests may come, with the versions that answer."""
        if not self._models.ready():
            raise Problem(503, "not_ready", "Champions are still being loaded. Ask again.", retry_after=1)
        return JSONResponse({"status": "ready", "projects": self._models.versions()})
