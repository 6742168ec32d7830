"""A running endpoint of a home of its own, shared by a module's tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tests.packages import write_project


@dataclass(frozen=True)
class Running:
    """The endpoint, and what it looks at."""

    url: str
    log: Path
    store: LocalStore
    registry: Registry
    client: httpx.Client

    def make_champion(self, version: int) -> None:
        """Moves the alias and waits for the endpoint to follow."""
        champion = self.registry.alias("tiny")
        before = champion.version if champion else None
        self.registry.move_alias("tiny", "champion", version, expected=before, who="test", why="test")
        self.wait_for(version)

    def wait_for(self, version: int | None) -> None:
        """Waits until the endpoint says that ``version`` is live."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.client.get("/").json()["projects"]["tiny"] == version:
                return
            time.sleep(0.1)
        raise AssertionError(f"version {version} never went live:\n{self.log.read_text()}")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """``bentoml serve`` with two projects, ``tiny`` and ``idle``, and no champion yet."""
    folder = tmp_path_factory.mktemp("endpoint")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("tiny", "idle"):
        write_project(folder / "projects", name)
    values = {"HOME": folder / "home", "PROJECTS": folder / "projects", "SERVING_PORT": port}
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
            yield Running(url, log, store, registry, client)
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
            time.sleep(0.2)
    raise AssertionError(log.read_text())
