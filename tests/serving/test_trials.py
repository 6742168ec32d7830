"""Which of two versions answers: by share, always the same one for a request, whoever decides."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.app import application
from serving.batching import MIRRORS, Batcher
from serving.champions import Champions
from serving.memory import Memory
from serving.models import Challenger, Live, place, read_live
from serving.reports import Reports
from serving.trials import Trials
from serving.workers import Workers
from tasks.core.registry import Batch, Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tasks.runtime.predictor import Inputs, Predictor
from tasks.runtime.requests import RequestLog, sampled
from tests.packages import png, register, write_package, write_project
from tests.serving.in_process import InProcess, Lives

PNG = {"content-type": "image/png"}
IDS = [f"request-{number}" for number in range(20_000)]
NEVER = datetime(9999, 1, 1)


def challenger(
    share: float, mode: str = "canary", live: Any = None, version: int = 2, keep: Callable[[Any], None] = print
) -> Challenger:
    return Challenger(live or Live(None, version, None), mode, share, NEVER, keep)  # type: ignore[arg-type]


@given(share=st.floats(0, 1), version=st.integers(1, 10_000))
def test_a_share_is_kept_whatever_the_version(share: float, version: int) -> None:
    taken = sum(challenger(share, version=version).takes(each) for each in IDS[:2000])
    # Five standard deviations of chance.
    assert abs(taken - 2000 * share) <= 5 * (2000 * share * (1 - share)) ** 0.5 + 1


@given(
    request_id=st.text("abcdef0123456789-_.:", min_size=1, max_size=100), share=st.floats(0, 1), more=st.floats(0, 1)
)
def test_who_met_the_challenger_meets_it_at_every_larger_share(request_id: str, share: float, more: float) -> None:
    smaller, larger = challenger(min(share, more)), challenger(max(share, more))
    assert smaller.takes(request_id) <= larger.takes(request_id)
    assert not challenger(0.0).takes(request_id) and challenger(1.0).takes(request_id)
    assert not challenger(1.0, "shadow").answers(request_id)


def test_every_process_decides_alike() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(place, [(each, 7) for each in IDS[:50]]) == [place(each, 7) for each in IDS[:50]]


def test_the_log_samples_canary_and_champion_alike() -> None:
    taken = [each for each in IDS if challenger(0.1).takes(each)]
    assert 0.06 < sum(sampled(each, 0.1) for each in taken) / len(taken) < 0.14
    again = sum(challenger(0.1, version=3).takes(each) for each in taken)
    assert 0.06 < again / len(taken) < 0.14, "another challenger meets other requests"


class Tried(Lives):
    """With a challenger of ``tiny``."""

    def __init__(self, champion: Live, other: Challenger | None) -> None:
        super().__init__({"tiny": champion})
        self.other = other

    def challenger(self, project: str) -> Challenger | None:
        return self.other if project == "tiny" else None


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Live, Live]:
    """Champion 1 and challenger 2."""
    folder, memory = tmp_path_factory.mktemp("versions"), Memory(None)
    for number, steepness in ((1, 8.0), (2, 2.0)):
        write_package(folder / str(number), f"build-{number}", steepness)
    first, second = (read_live(folder / str(number), memory, number) for number in (1, 2))
    return first, second


@pytest.fixture
def models(versions: tuple[Live, Live]) -> Tried:
    return Tried(versions[0], None)


@pytest.fixture
def client(models: Tried, tmp_path: Path) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(tmp_path / "home"))
        settings.cache_clear()
        app = application(models, RequestLog(tmp_path))
        with httpx.Client(transport=InProcess(app), base_url="http://endpoint") as asked:
            yield asked
    settings.cache_clear()


def ask(client: httpx.Client, request_id: str, path: str = "predict", body: bytes = png(200, 1)) -> httpx.Response:
    return client.post(f"/v1/tiny/{path}", content=body, headers={**PNG, "x-request-id": request_id})


def test_a_canary_answers_its_share_and_explains_what_it_answered(
    client: httpx.Client, models: Tried, versions: tuple[Live, Live]
) -> None:
    kept: list[Any] = []
    models.other = other = challenger(0.4, live=versions[1], keep=kept.append)
    expected = [2 if other.takes(request_id) else 1 for request_id in IDS[:20]]
    for _ in range(2):
        assert [ask(client, request_id).json()["version"] for request_id in IDS[:20]] == expected
    (mine,) = [next(each for each in IDS if other.takes(each))]
    assert ask(client, mine, "explain").json()["version"] == 2
    assert [record["version"] for record in kept] == 2 * expected
    assert all(record["failed"] == "" and record["answers"][0]["label"] == "bright" for record in kept)
    assert all(0 < record["seconds"] < 60 for record in kept)


def test_what_the_model_fails_counts_and_what_nobody_could_take_does_not(
    client: httpx.Client, models: Tried, versions: tuple[Live, Live]
) -> None:
    kept: list[Any] = []
    models.other = challenger(1.0, live=versions[1], keep=kept.append)
    assert ask(client, "b", body=b"").status_code == 400
    assert ask(client, "c", body=b"x" * 70_000).status_code == 413
    assert kept == []
    assert ask(client, "a", body=b"no image").status_code == 422
    assert [bool(record["failed"]) for record in kept] == [True]


def test_the_open_protocol_names_both_and_answers_with_the_one_asked_for(
    client: httpx.Client, models: Tried, versions: tuple[Live, Live]
) -> None:
    kept: list[Any] = []
    assert client.get("/v2/models/tiny").json()["versions"] == ["1"]
    assert client.get("/v2/models/tiny/versions/2").status_code == 404
    models.other = challenger(1.0, live=versions[1], keep=kept.append)
    assert client.get("/v2/models/tiny").json()["versions"] == ["1", "2"]
    body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [200] * 64}]}
    for path, version in (("", "2"), ("/versions/1", "1"), ("/versions/2", "2")):
        response = client.post(f"/v2/models/tiny{path}/infer", json=body)
        assert response.json()["model_version"] == version
    assert len(kept) == 1, "who insists on a version says nothing about the others"


def test_a_busy_shadow_is_asked_no_more(models: Tried, versions: tuple[Live, Live]) -> None:
    go, image = threading.Event(), png(200)
    kept: list[Any] = []
    asked: list[str] = []
    shadow = challenger(1.0, "shadow", versions[1], keep=kept.append)

    def slow(name: str) -> Callable[[Predictor], Inputs]:
        def prepare(predictor: Predictor) -> Inputs:
            asked.append(name)
            assert go.wait(30)
            return predictor.prepare(image)

        return prepare

    async def ask_many() -> None:
        trials = Trials(models, Batcher())
        for request_id in IDS[:10]:
            trials.mirror(shadow, slow(request_id))
        go.set()
        while len(kept) < MIRRORS:
            await anyio.sleep(0.01)
        await anyio.sleep(0.01)
        trials.mirror(shadow, slow("later"))
        while len(kept) < MIRRORS + 1:
            await anyio.sleep(0.01)

    anyio.run(ask_many)
    assert set(asked) == {*IDS[:MIRRORS], "later"}
    assert all(record["version"] == 2 and not record["failed"] and record["answers"] for record in kept)


def test_a_challenger_is_warm_and_stays_so_as_champion_or_goes_with_its_time(home: Path) -> None:
    write_project(home / "projects")
    store, registry = LocalStore(home / "store"), Registry(settings().registry_url)
    memory, reports = Memory(None), Reports(registry, "http://here")
    champions = Champions(registry, store, memory, Workers(home), reports)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_PROJECTS", str(home / "projects"))
        settings.cache_clear()
        for key in ("first", "second"):
            register(registry, store, key)
        damaged = register(registry, store, "third", damaged=True)
        registry.move_alias("tiny", "champion", 1, expected=None, who="test", why="test")

        def tried(version: int, minutes: float, expected: Any = None) -> Any:
            until = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=minutes)
            told = {"until": until, "expected": expected, "who": "test", "why": "test"}
            trial = registry.set_trial("tiny", version, "canary", 0.5, **told)  # type: ignore[arg-type]
            champions.refresh()
            return trial

        trial = tried(2, 5)
        found, champion = champions.challenger("tiny"), champions.live("tiny")
        assert found and champion and (found.live.version, champion.version) == (2, 1)
        assert champions.challengers() == {"tiny": {"version": 2, "mode": "canary", "share": 0.5}}
        loaded = found.live.model.loaded
        assert loaded, "it is warm before its first request"
        found.keep({"version": 1})
        reports.refresh()
        assert registry.take_records(trial) == [Batch("tiny", trial.at, [{"version": 1}])]
        (worker,) = registry.workers()
        assert (worker.versions, worker.challengers) == ({"tiny": 1}, champions.challengers())
        # Promoted, it stays as it is loaded, and nothing is tried any more.
        registry.move_alias("tiny", "champion", 2, expected=1, who="test", why="test")
        champions.refresh()
        promoted = champions.live("tiny")
        assert promoted and promoted.model.loaded is loaded and champions.challengers() == {}
        assert memory.mib() == loaded.mib
        trial = tried(damaged.version, 5)
        assert champions.challenger("tiny") is None and champions.challengers() == {}
        trial = tried(1, 5, trial)
        beside = champions.challenger("tiny")
        assert beside and beside.live.version == 1
        tried(1, -1, trial)
        assert champions.challenger("tiny") is None and champions.challengers() == {}
        assert memory.mib() == loaded.mib
    registry.close()
