"""What a scraper and a supervisor are told, with two workers behind one port."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from serving.errors import HANDLERS
from serving.health import Health
from serving.metrics import Metrics
from serving.request_ids import RequestIds
from tasks.runtime.requests import RequestLog
from tests.packages import png, register
from tests.serving.conftest import Running, serve, until
from tests.serving.in_process import InProcess

PNG = {"content-type": "image/png"}
PREDICT = "/v1/{project}/predict"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two workers with version 1 of ``tiny`` live."""
    with serve(tmp_path_factory.mktemp("measured"), workers=2) as running:
        running.make_champion(register(running.registry, running.store, "first").version)
        yield running


def once(served: Running, method: str, path: str, **options: object) -> httpx.Response:
    """A request on a connection of its own: either worker may take it."""
    return served.client.request(method, path, headers={"connection": "close", **PNG}, **options)  # type: ignore[arg-type]


def value(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of that name with those labels."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def predictions(served: Running) -> float:
    """How many a scrape counts."""
    text = once(served, "GET", "/metrics").text
    return value(text, "updraft_requests_total", route=PREDICT, project="tiny", status="2xx")


def test_every_worker_counts_and_every_scrape_tells_all(served: Running) -> None:
    for _ in range(40):
        assert once(served, "POST", "/v1/tiny/predict", content=png(9)).status_code == 200
    until(lambda: {predictions(served) for _ in range(12)} == {40})
    assert len(list(served.log.parent.joinpath("home", "serving").glob("metrics-*/*.json"))) == 2
    text = served.client.get("/metrics").text
    assert value(text, "updraft_rows_total", project="tiny", route=PREDICT) == 40
    assert value(text, "updraft_request_seconds_count", project="tiny", route=PREDICT) == 40
    assert value(text, "updraft_live_version", project="tiny") == 1
    assert value(text, "updraft_requests_in_progress") == 0


def test_what_a_stranger_sends_becomes_no_label(served: Running) -> None:
    once(served, "GET", "/made/up")
    once(served, "POST", "/v1/invented/predict", content=b"x")
    once(served, "POST", "/v1/tiny/predict", content=b"x" * 70_000)
    texts: list[str] = []

    def counted(project: str, route: str) -> bool:
        texts.append(once(served, "GET", "/metrics").text)
        return value(texts[-1], "updraft_requests_total", route=route, project=project, status="4xx") == 1

    until(lambda: counted("none", "none") and counted("none", PREDICT) and counted("tiny", PREDICT))
    assert "made" not in texts[-1] and "invented" not in texts[-1]


def test_a_killed_workers_counts_stay_and_its_gauges_go(served: Running) -> None:
    before = predictions(served)
    assert before >= 1
    until(lambda: {predictions(served) for _ in range(12)} == {before})
    victim = psutil.Process(served.pid).children()[-1]
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait(10)
    assert predictions(served) == before
    assert value(once(served, "GET", "/metrics").text, "updraft_requests_in_progress") == 0
    until(lambda: len(psutil.Process(served.pid).children()) == 2, 40)
    assert once(served, "POST", "/v1/tiny/predict", content=png(9)).status_code == 200
    until(lambda: {predictions(served) for _ in range(12)} == {before + 1})


def test_health_is_ours_and_says_what_is_served(served: Running) -> None:
    for path in ("/livez", "/healthz"):
        assert served.client.get(path).json() == {"status": "live"}
    until(lambda: served.client.get("/readyz").json()["projects"]["tiny"] == 1)
    assert served.client.head("/readyz").status_code == 200


class Nothing:
    """No model yet."""

    def names(self) -> Sequence[str]:
        """See `serving.models.Models`."""
        return ["tiny"]

    def live(self, project: str) -> None:
        """See `serving.models.Models`."""

    def versions(self) -> Mapping[str, None]:
        """See `serving.models.Models`."""
        return {"tiny": None}

    def challenger(self, project: str) -> None:
        """See `serving.models.Models`."""

    def challengers(self) -> Mapping[str, Mapping[str, object]]:
        """See `serving.models.Models`."""
        return {}

    def ready(self) -> bool:
        """See `serving.models.Models`."""
        return False


def test_not_ready_says_why_and_when_again() -> None:
    app = RequestIds(Starlette(routes=Health(Nothing()).routes(), exception_handlers=HANDLERS))
    asked = httpx.Client(transport=InProcess(app), base_url="http://x")
    response = asked.get("/readyz")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["code"] == "not_ready"
    assert asked.get("/livez").status_code == 200


def test_dropped_records_are_counted_once(home: Path) -> None:
    log = RequestLog(home, capacity=1)
    metrics = Metrics(home, Nothing(), log)
    asked = httpx.Client(transport=InProcess(Starlette(routes=[metrics.route()])), base_url="http://x")
    for dropped in (0, 2, 3):
        while log.dropped < dropped:
            log.append("tiny", {})
        assert value(asked.get("/metrics").text, "updraft_log_dropped_records_total") == dropped
