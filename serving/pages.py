"""What people look at: the documentation page with its form, and the OpenAPI document. Nothing loads from outside."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.errors import Problem
from serving.models import Models
from serving.openapi import document

_STATIC = Path(__file__).parent / "static"
_PAGE = "docs.html"

_HEADERS = {
    # data: and blob: are the picture that was dropped, and the one that explains it.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@dataclass(frozen=True)
class _File:
    """A file of the page, held in memory."""

    content: bytes
    media: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> Self:
        content = path.read_bytes()
        media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return cls(content, media, f'"{hashlib.sha256(content).hexdigest()[:16]}"')

    def answer(self, request: Request, status: int = 200) -> Response:
        headers = {**_HEADERS, "etag": self.tag}
        if status == 200 and request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, status, headers, self.media)


class Pages:
    """The handlers.

    Args:
        models: what the pages are about.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._files = {path.name: _File.read(path) for path in _STATIC.iterdir() if path.is_file()}

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/docs", self.page, methods=["GET"]),
            Route("/docs/{project}", self.page, methods=["GET"]),
            Route("/static/{file}", self.static, methods=["GET"]),
        ]

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document of what is live now."""
        return JSONResponse(document(self._models), headers={"cache-control": "no-cache"})

    async def page(self, request: Request) -> Response:
        """The page; which project it shows, it reads from its address."""
        project = request.path_params.get("project")
        if project is not None and project not in self._models.names():
            if "text/html" in request.headers.get("accept", ""):
                return self._files[_PAGE].answer(request, 404)  # it says so itself, and leads to the others
            raise Problem(
                404, "unknown_project", f"There is no such project. Known: {', '.join(self._models.names())}."
            )
        return self._files[_PAGE].answer(request)

    async def static(self, request: Request) -> Response:
        """What the page is made of."""
        found = self._files.get(request.path_params["file"])
        if found is None:
            raise Problem(404, "not_found", "There is no such file. The page is /docs.")
        return found.answer(request)
