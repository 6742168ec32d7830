"""The endpoint beside a bare FastAPI app, a plain BentoML service and the model alone: same client, same models.

All of them run with two workers and are asked in turns, so that what else the machine does meets them alike.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.figures import Figure
from benchmarks.serving_client import Load, Result, ask
from benchmarks.serving_models import NAMES, picture
from tasks.core.settings import ROOT
from tasks.platform.environment import ONE_THREAD, QUIET
from tasks.runtime.predictor import Inputs, Predictor

CONNECTIONS = (1, 16, 64)
SECONDS, ROUNDS = 2.5, 7
WORKERS = "2"
FIRST_PORT = 18_310
BATCH = 32
"""Rows of a call in the process."""

_WAIT_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """One way to serve one model."""

    command: tuple[str, ...]
    port: int
    path: str
    environment: Mapping[str, str]


def measure() -> list[Figure]:
    """Starts all servers, asks them in turns, and compares the medians."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = {**os.environ, **QUIET, **ONE_THREAD, "PYTHONPATH": str(ROOT), "UPDRAFT_HOME": str(home)}
        for name in ("STORE", "DATABASE_URL"):
            environment.pop(f"UPDRAFT_{name}", None)
        subprocess.run([sys.executable, "-m", "benchmarks.serving_models"], env=environment, check=True)
        environment |= {"UPDRAFT_PROJECTS": str(home / "projects"), "UPDRAFT_SERVING_WORKERS": WORKERS}
        return [figure for index, name in enumerate(NAMES) for figure in _compare(name, index, home, environment)]


@dataclass(frozen=True)
class Turns:
    """The servers of one model, asked one after the other, several times."""

    servers: Mapping[str, Server]
    body: Path
    media: str

    def ask(self, whom: Iterable[str], connections: int, rate: float = 0.0) -> dict[str, list[Result]]:
        """Each one's results, a round each; for ``rate`` see `benchmarks.serving_client.Load`."""
        found: dict[str, list[Result]] = {which: [] for which in whom}
        for _ in range(ROUNDS):
            for which, results in found.items():
                server = self.servers[which]
                load = Load(server.port, server.path, str(self.body), self.media, connections, SECONDS, rate)
                results.append(ask(load))
        return found


def _compare(name: str, index: int, home: Path, environment: Mapping[str, str]) -> Iterator[Figure]:
    body, media = picture(name)
    (home / name).write_bytes(body)
    package = home / "store" / name / "package" / "bench"
    turns = Turns(_servers(name, FIRST_PORT + 3 * index, environment, package), home / name, media)
    with ExitStack() as stack:
        for which, server in turns.servers.items():
            stack.enter_context(_running(server, home / f"{name}-{which}.log", body, media))
        found = {connections: turns.ask(turns.servers, connections) for connections in CONNECTIONS}
        half = statistics.median(result.per_second for result in found[16]["ours"]) / 2
        calm = turns.ask(("ours", "bare"), 16, half)
    for connections, results in found.items():
        yield from _rates(name, connections, results)
    yield _tail(name, half, calm)
    yield _alone(name, package, body)


def _rates(name: str, connections: int, found: Mapping[str, list[Result]]) -> Iterator[Figure]:
    rates = {which: statistics.median(r.per_second for r in results) for which, results in found.items()}
    what = f"{name}, {connections} connections"
    failed = sum(result.failed for results in found.values() for result in results)
    against = f"bare: {rates['bare']:.0f}/s, plain: {rates['plain']:.0f}/s; {failed} failed"
    yield Figure(what, rates["ours"], "requests/s", against=against)
    for field in ("p50", "p99"):
        ours, against = _medians(found, field)
        yield Figure(f"{what}: {field}", ours, "ms", against=against)
    target = connections == 16
    bare, plain = rates["ours"] / rates["bare"], rates["ours"] / rates["plain"]
    yield Figure(f"{what}: of bare FastAPI + ONNX Runtime", bare, "", ">= 0.8" if target else "", "bare")
    yield Figure(f"{what}: of plain @bentoml.api", plain, "", ">= 2" if target else "", "plain")


def _tail(name: str, rate: float, found: Mapping[str, list[Result]]) -> Figure:
    ours, bare = (statistics.median(result.p99 for result in found[which]) for which in ("ours", "bare"))
    against = f"{rate:.0f}/s; ours {ours:.1f} ms, bare {bare:.1f} ms"
    return Figure(f"{name}, half load: p99 above bare", ours - bare, "ms", "<= 5", against)


def _medians(found: Mapping[str, list[Result]], field: str) -> tuple[float, str]:
    """Ours, and the others' in words."""
    values = {which: statistics.median(getattr(r, field) for r in results) for which, results in found.items()}
    return values.pop("ours"), ", ".join(f"{which}: {value:.1f} ms" for which, value in values.items())


def _alone(name: str, package: Path, body: bytes) -> Figure:
    """One thread that decodes and predicts, no server."""
    predictor = Predictor.load(package)
    predictor.warm_up()

    def batch() -> float:
        started = time.perf_counter()
        predictor.predict(Inputs.join([predictor.prepare(body) for _ in range(BATCH)]))
        return time.perf_counter() - started

    seconds = statistics.median(batch() for _ in range(20))
    return Figure(f"{name}, in one process, {BATCH} at a time", BATCH / seconds, "images/s", against="no server")


def _servers(name: str, port: int, environment: Mapping[str, str], package: Path) -> dict[str, Server]:
    theirs = {**environment, "BENCHMARK_PACKAGE": str(package)}
    serve = (sys.executable, "-m", "bentoml", "serve")
    uvicorn = (sys.executable, "-m", "uvicorn", "benchmarks.serving_expert:app", "--workers", WORKERS)
    quiet = ("--no-access-log", "--log-level", "warning")
    return {
        "ours": Server((*serve, "serving.service:Updraft"), port, f"/v1/{name}/predict", environment),
        "bare": Server((*uvicorn, *quiet), port + 1, "/predict", theirs),
        "plain": Server((*serve, "benchmarks.serving_plain:Plain"), port + 2, "/predict", theirs),
    }


@contextmanager
def _running(server: Server, log: Path, body: bytes, media: str) -> Iterator[None]:
    """The server, from its first right answer on; its whole group ends with the block."""
    command = [*server.command, "--host", "127.0.0.1", "--port", str(server.port)]
    # Two BentoML services with one home would share a folder for their metrics.
    environment = {**server.environment, "BENTOML_HOME": str(log.with_suffix(""))}
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True, cwd=ROOT)
    try:
        _await(f"http://127.0.0.1:{server.port}{server.path}", body, media, log)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def _await(url: str, body: bytes, media: str, log: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                if client.post(url, content=body, headers={"content-type": media}).status_code == 200:
                    time.sleep(2)  # the other worker
                    return
            except httpx.TransportError:
                pass  # nobody listens yet
            time.sleep(0.5)
    raise TimeoutError(f"{url} does not answer:\n{log.read_text()[-2000:]}")
