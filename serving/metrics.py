"""What a Prometheus scraper reads at ``/metrics``: the whole server, whichever of its workers is asked.

Each worker counts in memory, which costs a request a few microseconds, and tells the others by a file that it writes
twice a second while there is something new. Files of workers that died count on, as a counter must never fall. Labels
are from short lists: projects that are live, the routes there are, classes of status, champion and challenger.
"""

import asyncio
import json
import os
import shutil
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio.to_thread
import psutil
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.models import Models
from tasks.runtime.requests import RequestLog

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of the latency histogram; a last bucket takes the rest."""

TELL_SECONDS = 0.5
"""Between two files of a worker."""

_NONE = "none"
"""Where a path names no live project, or no route."""


class Metrics:
    """The measurements of this worker, and the page that shows those of all.

    Args:
        home: UPDRAFT_HOME; the workers of one server meet in a folder below it.
        models: whose versions are shown.
        log: whose dropped records are counted.
    """

    def __init__(self, home: Path, models: Models, log: RequestLog) -> None:
        self._models, self._log = models, log
        self._folder = _server_folder(home / "serving")
        self._file = self._folder / f"{os.getpid()}.json"
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._rows: Counter[tuple[str, str]] = Counter()
        self._times: dict[tuple[str, str], list[float]] = {}
        self._versions_asked: Counter[tuple[str, str, int]] = Counter()
        self._versions_times: dict[tuple[str, str], list[float]] = {}
        self._busy, self._is_due = 0, False

    def route(self) -> Route:
        """``GET /metrics``."""
        return Route("/metrics", self.show, methods=["GET"])

    async def show(self, request: Request) -> Response:
        """Everything, in Prometheus's text format."""
        self._busy -= 1  # looking is no work
        try:
            self.tell()
            return Response(await anyio.to_thread.run_sync(self._collected), media_type=CONTENT_TYPE_LATEST)
        finally:
            self._busy += 1

    def begin(self) -> None:
        """A request has come."""
        self._busy += 1

    def end(
        self, project: str, route: str, status: int, rows: int, seconds: float, version: int | str | None = None
    ) -> None:
        """It was answered, by that version where a model had a part in it."""
        self._busy -= 1
        place = (project if self._models.live(project) else _NONE, route)
        self._requests[*place, status // 100] += 1
        if rows:
            self._rows[place] += rows
        _add(self._times, place, seconds)
        if version is not None:
            self._versions_asked[project, str(version), status // 100] += 1
            _add(self._versions_times, (project, str(version)), seconds)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(TELL_SECONDS, self.tell)

    def tell(self) -> None:
        """Writes down what this worker has counted so far."""
        self._is_due = False
        self._forget_versions()
        told = {
            "requests": [[*place, count] for place, count in self._requests.items()],
            "rows": [[*place, count] for place, count in self._rows.items()],
            "times": [[*place, times] for place, times in self._times.items()],
            "versions": [[*place, count] for place, count in self._versions_asked.items()],
            "versions_times": [[*place, times] for place, times in self._versions_times.items()],
            "busy": self._busy,
            "dropped": self._log.dropped,
        }
        draft = self._file.with_suffix(".part")
        with suppress(OSError):  # a full disk costs the figures and nothing else
            draft.write_text(json.dumps(told), encoding="utf-8")
            draft.replace(self._file)

    def _forget_versions(self) -> None:
        """What answers no more is no label any more: a registry's versions are without end."""
        for place in [place for place in self._versions_times if not self._answers(*place)]:
            del self._versions_times[place]
        for asked in [asked for asked in self._versions_asked if not self._answers(*asked[:2])]:
            del self._versions_asked[asked]

    def _answers(self, project: str, version: str) -> bool:
        champion, challenger = self._models.live(project), self._models.challenger(project)
        return version in {str(each.version) for each in (champion, challenger and challenger.live) if each}

    def _collected(self) -> bytes:
        found = CollectorRegistry()
        found.register(self)
        return generate_latest(found)

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client: the sums over all workers, and the versions as this one knows them."""
        requests: Counter[tuple[str, ...]] = Counter()
        rows: Counter[tuple[str, ...]] = Counter()
        times: dict[tuple[str, ...], list[float]] = {}
        asked: Counter[tuple[str, ...]] = Counter()
        asked_times: dict[tuple[str, ...], list[float]] = {}
        busy = dropped = 0
        for pid, told in self._all():
            for *place, status, count in told["requests"]:
                requests[*place, f"{status}xx"] += count
            for *place, count in told["rows"]:
                rows[tuple(place)] += count
            for project, version, status, count in told["versions"]:
                if self._answers(project, version):
                    asked[project, version, f"{status}xx"] += count
            _sum(times, told["times"])
            _sum(asked_times, [each for each in told["versions_times"] if self._answers(*each[:2])])
            busy += told["busy"] if psutil.pid_exists(pid) else 0
            dropped += told["dropped"]
        labels = ["project", "route"]
        yield _counter("updraft_requests", "Requests answered.", [*labels, "status"], requests)
        yield _counter("updraft_rows", "Rows or images answered.", labels, rows)
        yield _histogram("updraft_request_seconds", "From a request's headers to its answer.", labels, times)
        by_version = ["project", "version"]
        yield _counter("updraft_version_requests", "Requests that a version took.", [*by_version, "status"], asked)
        yield _histogram("updraft_version_request_seconds", "Their time, each version's.", by_version, asked_times)
        yield GaugeMetricFamily("updraft_requests_in_progress", "Requests that wait or are worked on.", busy)
        yield CounterMetricFamily("updraft_log_dropped_records", "That the request log could not keep.", dropped)
        yield self._versions()

    def _all(self) -> Iterator[tuple[int, Any]]:
        for path in self._folder.glob("*.json"):
            yield int(path.stem), json.loads(path.read_text(encoding="utf-8"))

    def _versions(self) -> Metric:
        family = GaugeMetricFamily("updraft_live_version", "The version that answers.", labels=["project"])
        for name in self._models.names():
            live = self._models.live(name)
            if live and isinstance(live.version, int):  # a Bento's is a name
                family.add_metric([name], live.version)
        return family


class Measured:
    """Counts every request that passes, with its route's template: a path that somebody made up is no label."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Sequence[BaseRoute]) -> None:
        self._app, self._metrics, self._routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status, started = 499, time.perf_counter()  # 499: who asked has left

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.begin()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            template, project = self._named(scope)
            state, seconds = scope["state"], time.perf_counter() - started
            self._metrics.end(project, template, status, state.get("rows", 0), seconds, state.get("version"))

    def _named(self, scope: Scope) -> tuple[str, str]:
        """The route's template, and the project that the path names."""
        route, parameters = scope.get("route"), scope.get("path_params", {})
        if route is None:  # refused before it was looked for, or there is none
            found = ((route, *route.matches(scope)) for route in self._routes)
            route, child = next(((r, child) for r, match, child in found if match is not Match.NONE), (None, {}))
            parameters = child.get("path_params", {})
        template = route.path if isinstance(route, Route | Mount) else _NONE
        return template, parameters.get("project", _NONE)


def _add(times: dict[tuple[str, str], list[float]], place: tuple[str, str], seconds: float) -> None:
    counts = times.get(place)
    if counts is None:
        counts = times[place] = [0.0] * (len(SECONDS) + 2)
    counts[bisect_left(SECONDS, seconds)] += 1
    counts[-1] += seconds


def _sum(times: dict[tuple[str, ...], list[float]], told: Sequence[Sequence[Any]]) -> None:
    for *place, counts in told:
        known = times.get(tuple(place), [0.0] * len(counts))
        times[tuple(place)] = [a + b for a, b in zip(known, counts, strict=True)]


def _counter(name: str, words: str, labels: list[str], counts: Counter[tuple[str, ...]]) -> Metric:
    family = CounterMetricFamily(name, words, labels=labels)
    for place, count in sorted(counts.items()):
        family.add_metric(place, count)
    return family


def _histogram(name: str, words: str, labels: list[str], times: dict[tuple[str, ...], list[float]]) -> Metric:
    family = HistogramMetricFamily(name, words, labels=labels)
    for place, (*counts, seconds) in sorted(times.items()):
        bounds = [*map(str, SECONDS), "+Inf"]
        below = [sum(counts[: n + 1]) for n in range(len(counts))]
        family.add_metric(place, list(zip(bounds, below, strict=True)), seconds)
    return family


def _server_folder(home: Path) -> Path:
    """Where the workers of this server meet: by their parent and when it started. Those of servers that ended go."""
    parent = psutil.Process(os.getppid())
    folder = home / f"metrics-{parent.pid}-{int(parent.create_time())}"
    for other in home.glob("metrics-*"):
        if other != folder and not psutil.pid_exists(int(other.name.split("-")[1])):
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
