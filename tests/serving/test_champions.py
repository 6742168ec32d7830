"""Two workers on one port, more models than their memory may hold: champions switch and workers die under load."""

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from serving.champions import Champions
from serving.memory import Memory
from serving.workers import Workers
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tests.packages import png, register, write_project
from tests.serving.conftest import Running, serve, until

WORKERS = 2
CLIENTS = 4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An endpoint of two workers with a champion of images."""
    with serve(tmp_path_factory.mktemp("workers"), workers=WORKERS) as running:
        running.make_champion(register(running.registry, running.store, "first").version)
        until(lambda: len(_told(running)) == WORKERS)
        yield running


@dataclass(frozen=True)
class Answer:
    """What a client saw: when it asked and was answered, by which version, and how sure that version was."""

    asked: float
    answered: float
    status: int
    version: int
    probability: float


@dataclass
class Clients:
    """Clients that ask ``path`` again and again, each over a connection of its own that it opens anew if it is lost."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    lost: list[Exception] = field(default_factory=list)
    refused: list[Exception] = field(default_factory=list)

    def __enter__(self) -> "Clients":
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self) -> None:
        """Until each of them was answered, about."""
        count = len(self.answers)
        until(lambda: len(self.answers) > count + CLIENTS)

    def _ask(self) -> None:
        while not self._ended.is_set():
            connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
            try:
                connection.connect()
            except OSError as error:
                self.refused.append(error)
                continue
            try:
                while not self._ended.is_set():
                    self.answers.append(_ask(connection))
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(error)
            finally:
                connection.close()


def _ask(connection: http.client.HTTPConnection) -> Answer:
    asked = time.monotonic()
    connection.request("POST", "/v1/tiny/predict", png(200), {"content-type": "image/png"})
    response = connection.getresponse()
    body = json.loads(response.read())
    first = body["predictions"][0] if response.status == 200 else {"probability": 0.0}
    return Answer(asked, time.monotonic(), response.status, body.get("version", 0), first["probability"])


@pytest.mark.slow
def test_champions_switch_under_load_and_every_answer_is_one_that_was_live(served: Running) -> None:
    second = register(served.registry, served.store, "second", steepness=2.0).version
    periods: list[tuple[int, float, float]] = []
    with Clients(served.url) as clients:
        version, since = 1, time.monotonic()
        for number in range(10):
            clients.wait_for_more()
            following, begun = (1, second)[number % 2 == 0], time.monotonic()
            served.make_champion(following)
            periods.append((version, since, time.monotonic()))
            version, since = following, begun
        periods.append((version, since, time.monotonic() + 60))
    assert not clients.lost and not clients.refused
    assert {answer.status for answer in clients.answers} == {200}
    late = [
        a
        for a in clients.answers
        if not any(v == a.version and b <= a.answered and a.asked <= e for v, b, e in periods)
    ]
    assert not late
    # Two versions were told apart by how sure they are: no answer was made of both.
    sure = {(answer.version, round(answer.probability, 3)) for answer in clients.answers}
    assert len(sure) == len({version for version, _ in sure}) == 2


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_no_connection_refused(served: Running) -> None:
    before = _workers(served)
    assert len(before) == WORKERS
    with Clients(served.url) as clients:
        clients.wait_for_more()
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(_told(served)) == WORKERS and before[0] not in _told(served), 60)
        clients.wait_for_more()
    assert not clients.refused
    # Each client had one request under way at most.
    assert len(clients.lost) <= CLIENTS
    assert {answer.status for answer in clients.answers} == {200}
    assert served.client.get("/").json()["projects"]["tiny"] is not None


def test_what_does_not_fit_is_loaded_when_it_is_asked_for(home: Path) -> None:
    store, registry = LocalStore(home / "store"), Registry(settings().registry_url)
    champions = Champions(registry, store, Memory(0.0001), Workers(home))
    for name, package in (("tiny", "first"), ("people", "numbers")):
        write_project(home / "projects", name)
        version = register(registry, store, package, name=name).version
        registry.move_alias(name, "champion", version, expected=None, who="test", why="test")
    assert not champions.ready()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_PROJECTS", str(home / "projects"))
        settings.cache_clear()
        champions.refresh()
        tiny, people = champions.live("tiny"), champions.live("people")
        assert champions.ready() and tiny and people
        assert champions.versions() == {"people": 1, "tiny": 1}
    assert tiny.model.loaded is people.model.loaded is None
    assert tiny.predictor.predict_bytes([png(200)]).argmax() == 1
    assert people.predictor.predict_rows([{"age": 80}]).argmax() == 1
    assert tiny.model.loaded is None
    registry.close()


def _workers(running: Running) -> list[int]:
    """The processes that answer; one that was killed is a zombie until the server notices."""
    children = (c for c in psutil.Process(running.pid).children() if c.status() != psutil.STATUS_ZOMBIE)
    return [child.pid for child in children if "_bentoml_impl.worker.service" in " ".join(child.cmdline())]


def _told(running: Running) -> set[int]:
    """The workers that have said what they answer with."""
    folder = running.store.root.parent / "serving" / f"workers-{running.pid}"
    return {int(path.stem) for path in folder.glob("*.json")} & set(_workers(running))
