"""A running endpoint of a home of its own, shared by a module's tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tasks.runtime.requests import read_requests
from tests.packages import KINDS, write_project


@dataclass(frozen=True)
class Running:
    """The endpoint, and what it looks at."""

    url: str
    pid: int
    log: Path
    store: LocalStore
    registry: Registry
    client: httpx.Client

    def make_champion(self, version: int, name: str = "tiny") -> None:
        """Moves the alias and waits for the endpoint to follow."""
        champion = self.registry.alias(name)
        before = champion.version if champion else None
        self.registry.move_alias(name, "champion", version, expected=before, who="test", why="test")
        self.wait_for(version, name)

    def wait_for(self, version: int | None, name: str = "tiny") -> None:
        """Waits until the endpoint says that ``version`` is live."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.client.get("/").json()["projects"][name] == version:
                return
            time.sleep(0.1)
        raise AssertionError(f"version {version} never went live:\n{self.log.read_text()}")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """``bentoml serve`` with projects of images (``tiny``, ``idle``), numbers and words, and no champion yet."""
    with serve(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


@contextmanager
def serve(folder: Path, workers: int = 1, **more: object) -> Iterator[Running]:
    """An endpoint with a home in ``folder``; ``more`` are other settings of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in KINDS:
        write_project(folder / "projects", name)
    values = {
        "HOME": folder / "home",
        "PROJECTS": folder / "projects",
        "SERVING_PORT": port,
        "SERVING_WORKERS": workers,
        **more,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STORE", "DATABASE_URL"):
            patch.delenv(f"UPDRAFT_{name}", raising=False)
        for name, value in values.items():
            patch.setenv(f"UPDRAFT_{name}", str(value))
        patch.setenv("BENTOML_HOME", str(folder / "bentoml"))
        patch.setenv("BENTOML_DO_NOT_TRACK", "True")
        settings.cache_clear()
        yield from _serve(folder / "log", port)
    settings.cache_clear()


def _serve(log: Path, port: int) -> Iterator[Running]:
    store, registry = LocalStore(Path(settings().store_uri)), Registry(settings().registry_url)
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Updraft"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with log.open("w") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            _await_ready(server, client, log)
            yield Running(url, server.pid, log, store, registry, client)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
        registry.close()


def _await_ready(server: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    while server.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # nobody listens yet
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits for the condition to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def logged(project: str, request_id: str, count: int) -> list[Mapping[str, Any]]:
    """The request's records, once there are so many."""
    found: list[Mapping[str, Any]] = []

    def all_there() -> bool:
        now = datetime.now(UTC)
        records = read_requests(project, now - timedelta(hours=1), now + timedelta(hours=1))
        found[:] = [r for r in records if r["request_id"] == request_id]
        return len(found) == count

    until(all_there)
    return found
