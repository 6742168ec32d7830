"""The endpoint's HTTP interface, as an ASGI application that BentoML mounts: its protocols and ``GET /``."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from serving.access import Access
from serving.batching import Batcher
from serving.errors import HANDLERS
from serving.health import Health
from serving.key_ring import KeyRing
from serving.limits import RateLimits
from serving.metrics import Measured, Metrics
from serving.models import Models
from serving.pages import Pages
from serving.request_ids import RequestIds
from serving.trials import Trials
from serving.v1 import V1
from serving.v2 import V2
from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.runtime.requests import RequestLog


def application(models: Models, log: RequestLog, keys: KeyRing | None = None) -> ASGIApp:
    """The ASGI application.

    Args:
        models: where the live ones are looked up.
        log: gets every prediction and feedback.
        keys: of those who may ask; None: there is no registry of keys, and everybody may.

    Raises:
        BadInput: UPDRAFT_API_KEYS requires keys where there is no registry of them.
    """
    if keys is None and settings().api_keys == "required":
        raise BadInput(
            "UPDRAFT_API_KEYS=required: a Bento has no registry of keys.", "Put a gateway before it, and unset it."
        )

    async def index(request: Request) -> Response:
        """What is served here: project to its live version, null where there is none or workers switch; what is tried.

        A browser is shown the page instead.
        """
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/docs")
        served = {"projects": models.versions(), "challengers": models.challengers()}
        return JSONResponse({"service": "updraft", **served})

    metrics = Metrics(settings().home, models, log)
    # The busiest first: they are tried in order.
    trials = Trials(models, Batcher())
    routes = [*V1(models, log, trials).routes(), *V2(models, log, trials).routes(), *Health(models).routes()]
    routes += [metrics.route(), Route("/", index, methods=["GET"]), *Pages(models).routes()]
    app: ASGIApp = Starlette(routes=routes, exception_handlers=HANDLERS)
    if keys:
        limits = RateLimits(settings().home / "serving" / "rates")
        app = Access(app, keys, limits, settings().api_keys, settings().host)
    return RequestIds(Measured(app, metrics, routes))
