"""The endpoint's application over tiny packages, asked in the test's own process: no server to wait for."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from starlette.types import ASGIApp

from serving.app import application
from serving.memory import Memory
from serving.models import Challenger, Live, read_live
from tasks.core.settings import settings
from tasks.runtime.requests import RequestLog
from tests.packages import write_package


class Lives:
    """Packages as `serving.models.Models`; ``idle`` has none."""

    def __init__(self, found: Mapping[str, Live]) -> None:
        self._found = found

    def names(self) -> Sequence[str]:
        return [*self._found, "idle"]

    def live(self, project: str) -> Live | None:
        return self._found.get(project)

    def versions(self) -> Mapping[str, int | str | None]:
        return {name: live.version if (live := self.live(name)) else None for name in self.names()}

    def challenger(self, project: str) -> Challenger | None:
        return None

    def challengers(self) -> Mapping[str, Mapping[str, object]]:
        return {}

    def ready(self) -> bool:
        return True


class InProcess(httpx.BaseTransport):
    """Takes requests to the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._asked = httpx.ASGITransport(app, raise_app_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def answer() -> httpx.Response:
            sent = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            found = await self._asked.handle_async_request(sent)
            return httpx.Response(found.status_code, headers=found.headers, content=await found.aread())

        return anyio.run(answer)


@contextmanager
def asking(folder: Path, *names: str, temperature: float = 1.0) -> Iterator[httpx.Client]:
    """A client of an endpoint with the tiny packages ``names``, version 1 each, and a home in ``folder``."""
    for name in names:
        write_package(folder / name, name=name, temperature=temperature)
    memory = Memory(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(folder / "home"))
        settings.cache_clear()
        lives = {name: read_live(folder / name, memory, 1, metrics={"accuracy": 0.9}) for name in names}
        app = application(Lives(lives), RequestLog(folder / "home"))
        with httpx.Client(transport=InProcess(app), base_url="http://endpoint") as client:
            yield client
    settings.cache_clear()
