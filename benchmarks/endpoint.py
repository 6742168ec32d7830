"""An endpoint with a home of its own, for measurements and tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import httpx
import psutil

from tasks.core.registry import Registry
from tasks.core.settings import ROOT, settings
from tasks.core.store import LocalStore
from tasks.platform.environment import ONE_THREAD, QUIET


@dataclass(frozen=True)
class Running:
    """The endpoint, and what it looks at."""

    url: str
    pid: int
    log: Path
    store: LocalStore
    registry: Registry
    client: httpx.Client

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

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
            time.sleep(0.02)
        raise AssertionError(f"version {version} never went live:\n{self.log.read_text()}")

    def workers(self) -> list[int]:
        """The processes that answer; one that was killed is a zombie until the server notices."""
        children = (c for c in psutil.Process(self.pid).children() if c.status() != psutil.STATUS_ZOMBIE)
        return [child.pid for child in children if "_bentoml_impl.worker.service" in " ".join(child.cmdline())]

    def told(self) -> set[int]:
        """The workers that have said what they answer with."""
        folder = settings().home / "serving" / f"workers-{self.pid}"
        return {int(path.stem) for path in folder.glob("*.json")} & set(self.workers())

    def resident_mib(self) -> float:
        """What the workers hold in memory together."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.workers()) / 2**20


@contextmanager
def serve(folder: Path, workers: int = 1, **more: object) -> Iterator[Running]:
    """An endpoint with a home in ``folder``, of the projects in ``folder/projects``; it ends with the block.

    Args:
        more: other settings of it. This process has the same ones meanwhile.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {
        "HOME": folder / "home",
        "PROJECTS": folder / "projects",
        "SERVING_PORT": port,
        "SERVING_WORKERS": workers,
        **more,
    }
    with patch.dict(os.environ, {f"UPDRAFT_{name}": str(value) for name, value in values.items()}):
        for name in ("STORE", "DATABASE_URL"):
            os.environ.pop(f"UPDRAFT_{name}", None)
        os.environ |= QUIET | ONE_THREAD | {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
        settings.cache_clear()
        try:
            yield from _serve(folder / "log", port)
        finally:
            settings.cache_clear()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits for the condition to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _serve(log: Path, port: int) -> Iterator[Running]:
    store, registry = LocalStore(Path(settings().store_uri)), Registry(settings().registry_url)
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Updraft"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
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
