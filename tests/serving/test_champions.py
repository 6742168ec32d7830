"""Two workers on one port, more models than their memory may hold: champions switch and workers die under load."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.crowd import Crowd, Question, Timeline
from benchmarks.endpoint import Running, until
from serving.champions import Champions
from serving.memory import Memory
from serving.reports import Reports
from serving.workers import Workers
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tests.packages import png, register, write_project
from tests.serving.conftest import serve

WORKERS = 2
CLIENTS = 4
QUESTIONS = [Question("/v1/tiny/predict", png(level), "image/png") for level in (140, 200)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An endpoint of two workers with a champion of images."""
    with serve(tmp_path_factory.mktemp("workers"), workers=WORKERS) as running:
        running.make_champion(register(running.registry, running.store, "first").version)
        until(lambda: len(running.told()) == WORKERS)
        yield running


@pytest.mark.slow
def test_champions_switch_under_load_and_every_answer_is_one_that_was_live(served: Running) -> None:
    second = register(served.registry, served.store, "second", steepness=2.0).version
    timeline = Timeline(1)
    with Crowd(served.port, QUESTIONS, CLIENTS) as crowd:
        for number in range(10):
            crowd.wait_for_more()
            following = (second, 1)[number % 2]
            with timeline.switch(following):
                served.make_champion(following)
        crowd.wait_for_more()
    assert not crowd.lost and not crowd.refused
    assert {answer.status for answer in crowd.answers} == {200}
    assert [answer for answer in crowd.answers if not timeline.was_live(answer)] == []
    # Versions and questions were told apart by how sure the answers are: none was made of two.
    sure = {(a.value["version"], a.question, round(a.value["predictions"][0]["probability"], 3)) for a in crowd.answers}
    assert len(sure) == len({(version, question) for version, question, _ in sure}) == 2 * len(QUESTIONS)
    assert len({probability for *_, probability in sure}) == len(sure)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_no_connection_refused(served: Running) -> None:
    dead, *others = served.workers()
    assert len(others) == WORKERS - 1
    with Crowd(served.port, QUESTIONS, CLIENTS, turns=5) as crowd:
        crowd.wait_for_more()
        os.kill(dead, signal.SIGKILL)
        until(lambda: len(served.told() - {dead}) == WORKERS, 60)
        crowd.wait_for_more()
    assert not crowd.refused
    # Each client had one request under way at most.
    assert len(crowd.lost) <= CLIENTS
    assert {answer.status for answer in crowd.answers} == {200}
    assert served.client.get("/").json()["projects"]["tiny"] is not None


def test_what_does_not_fit_is_loaded_when_it_is_asked_for(home: Path) -> None:
    store, registry = LocalStore(home / "store"), Registry(settings().registry_url)
    champions = Champions(registry, store, Memory(0.0001), Workers(home), Reports(registry, "http://here"))
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
