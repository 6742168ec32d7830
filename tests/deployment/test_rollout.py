"""A candidate on live requests of a real endpoint with two workers: to the end, or back at once."""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.models import place
from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import Conflict, NotPromoted, UpdraftError
from tasks.core.pipeline import find_step
from tasks.core.settings import settings
from tasks.core.stages import Context, Outcome, execute
from tasks.deployment import rollout
from tasks.deployment.promote import withdraw
from tests.packages import png, project, register, write_package
from tests.serving.conftest import Running, serve, until
from tests.stages import stage

SECONDS = 2.5
"""Of a step."""

LIMITS = {
    "deployment.step_minutes": SECONDS / 60,
    "deployment.min_requests": 5,
    "deployment.max_latency_ratio": 1000,  # the machine that tests run on is nobody's endpoint
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two workers with a first champion, which is never tried."""
    with serve(tmp_path_factory.mktemp("tried"), workers=2) as running:
        assert deploy(running, "first", None).metrics["version"] == 1
        running.wait_for(1)
        yield running


def deploy(
    served: Running,
    name: str,
    against: int | None,
    steepness: float = 8.0,
    stopped: Callable[[], bool] = lambda: False,
    **wanted: object,
) -> Manifest:
    """Runs the deploy stage for a tiny package that passed its gates against the champion ``against``."""
    spec = replace(project(), LIMITS | {f"deployment.{field}": value for field, value in wanted.items()})
    report = {"candidate": {"accuracy": 0.9}, "champion": against and {"version": against}}
    metrics: Mapping[str, Mapping[str, Any]] = {
        **{"train": {}, "evaluate": report, "card": {}, "package": {}},
        "gate": {"passed": True, "gates": [], "chosen": "plain"},
    }

    def made(step: str) -> Manifest:
        def work(ctx: Context) -> Outcome:
            if step == "package":
                write_package(ctx.out, name, steepness)
            return Outcome(metrics=metrics[step])

        declared = stage(step, reproducible=False, outside=lambda ctx: {"candidate": name})(work)
        return execute(declared, spec, {}, store=served.store, registry=served.registry)

    inputs = {step: [made(step)] for step in metrics}
    places: dict[str, Any] = {"store": served.store, "registry": served.registry}
    return execute(find_step("deploy").stage, spec, inputs, **places, stopped=stopped)


@dataclass
class Traffic:
    """Clients that ask again and again: request id to status, version and answer, in order."""

    url: str
    answers: dict[str, tuple[int, int | None, Any]] = field(default_factory=dict)

    def __enter__(self) -> "Traffic":
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(2)]
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answers) > 5)
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as client:
            while not self._ended.wait(0.02):
                seed, request_id = seed + 2, uuid.uuid4().hex
                headers = {"content-type": "image/png", "x-request-id": request_id}
                response = client.post("/v1/tiny/predict", content=png(150, seed), headers=headers)
                body = response.json()
                self.answers[request_id] = (response.status_code, body.get("version"), body.get("predictions"))


def ended(served: Running) -> Mapping[str, Any]:
    """Of the newest trial that was ended: its audit row."""
    return [row for row in served.registry.audit_log("tiny") if row["action"] == "end_trial"][-1]["details"]


@pytest.mark.slow
def test_a_challenger_goes_through_shadow_and_canary_to_champion(served: Running) -> None:
    with Traffic(served.url) as traffic:
        made = deploy(served, "second", 1, 7.9, shadow_minutes=SECONDS / 60, canary=[0.3, 0.6])
    assert [step["step"] for step in made.metrics["trial"]] == ["shadow 1", "canary 0.3", "canary 0.6"]
    assert served.registry.aliases("tiny") == {"champion": 2, "previous": 1}
    assert served.registry.trial("tiny") is None
    until(lambda: served.client.get("/").json()["challengers"] == {})
    assert {status for status, _, _ in traffic.answers.values()} == {200}
    for step in made.metrics["trial"]:
        assert step["requests"]["challenger"] >= 5 and step["error_rate"] == {"champion": 0, "challenger": 0}
        assert step["score_psi"]["label"] >= 0
    # Before the promotion nothing beyond the canary's share met the challenger, and nothing within it the champion.
    order = list(traffic.answers.items())
    first = next(n for n, (_, (_, version, _)) in enumerate(order) if version == 2)
    assert all(place(request_id, 2) < 0.3 for request_id, (_, version, _) in order[first : first + 3] if version == 2)
    assert {version for _, version, _ in traffic.answers.values()} == {1, 2}
    metrics = served.client.get("/metrics").text
    assert 'updraft_version_requests_total{project="tiny",status="2xx",version="2"}' in metrics
    until(lambda: 'version="1"' not in served.client.get("/metrics").text)


@pytest.mark.slow
def test_a_challenger_that_fails_is_taken_back_at_once(served: Running) -> None:
    champion = served.registry.aliases("tiny")["champion"]
    with Traffic(served.url) as traffic:
        with pytest.raises(NotPromoted, match=r"canary 0\.3: it failed \d+ of \d+ requests \(\d+ not_a_number\)"):
            deploy(served, "broken", champion, float("nan"), canary=[0.3], step_minutes=5)
        # A worker that has not looked again yet goes on for a second at most.
        until(lambda: {status for status, _, _ in list(traffic.answers.values())[-60:]} == {200})
    assert served.registry.aliases("tiny")["champion"] == champion
    assert "challenger" not in served.registry.aliases("tiny")
    assert "not_a_number" in ended(served)["why"] and ended(served)["error_rate"]["challenger"] == 1
    failed = [request_id for request_id, (status, _, _) in traffic.answers.items() if status != 200]
    assert failed and all(place(request_id, ended(served)["version"]) < 0.3 for request_id in failed)


@pytest.mark.slow
def test_a_shadow_whose_answers_are_others_is_never_answered_with(served: Running) -> None:
    champion = served.registry.aliases("tiny")["champion"]
    with Traffic(served.url) as traffic, pytest.raises(NotPromoted, match="spread differently: stability index of"):
        deploy(served, "contrary", champion, -8.0, shadow_minutes=2 * SECONDS / 60)
    assert {(status, version) for status, version, _ in traffic.answers.values()} == {(200, champion)}
    found = ended(served)
    assert found["step"] == "shadow 1" and found["score_psi"]["label"] > 0.2 and found["dropped"] == 0
    records = list((Path(served.store.root).parent / "requests" / "tiny").glob("*/*.jsonl"))
    assert records and all('"kind": "trial"' not in path.read_text(encoding="utf-8") for path in records)


@pytest.mark.slow
def test_what_nobody_asked_is_not_promoted(served: Running) -> None:
    champion = served.registry.aliases("tiny")["champion"]
    with pytest.raises(NotPromoted, match=r"0 requests to it(.|\n)*5 of each are needed"):
        deploy(served, "idle", champion, canary=[0.5], step_minutes=0.01)
    assert served.registry.aliases("tiny")["champion"] == champion


@pytest.mark.slow
def test_a_rollout_that_is_stopped_or_taken_over_leaves_the_champion_alone(served: Running) -> None:
    champion = served.registry.aliases("tiny")["champion"]
    with pytest.raises(UpdraftError, match="was stopped"):
        deploy(served, "halted", champion, canary=[0.5], step_minutes=5, stopped=lambda: True)
    assert ended(served)["why"] == "the rollout was stopped: UpdraftError"

    def withdrawn() -> bool:
        trial = served.registry.trial("tiny")
        if trial and trial.mode == "canary":
            withdraw(served.registry, "tiny", who="ana", why="I saw enough")
        return False

    with pytest.raises(Conflict, match="somebody ended or changed the trial"):
        deploy(served, "withdrawn", champion, canary=[0.5], step_minutes=5, stopped=withdrawn)
    assert ended(served)["why"] == "I saw enough"
    assert served.registry.aliases("tiny")["champion"] == champion and served.registry.trial("tiny") is None


@pytest.mark.slow
def test_a_challenger_that_does_not_load_is_refused_before_its_first_request(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = served.registry.aliases("tiny")["champion"]
    monkeypatch.setattr(rollout, "WARM_SECONDS", 3.0)
    version = register(served.registry, served.store, "damaged", damaged=True).version
    spec = replace(project(), {"deployment.canary": [0.5]})
    ctx = Context(spec, {}, served.store, served.registry, None, "run")
    with pytest.raises(NotPromoted, match="its log names what does not load"):
        rollout.try_out(ctx, version, champion)
    assert served.registry.aliases("tiny")["champion"] == champion and served.registry.trial("tiny") is None


@pytest.fixture
def elsewhere(served: Running, tmp_path: Path) -> Iterator[None]:
    """The settings of another machine: nothing but the registry and the store is the endpoint's, too."""
    values = {
        "STORE": settings().store_uri,
        "DATABASE_URL": settings().registry_url,
        "HOME": tmp_path / "elsewhere",
        "SERVING_PORT": 1,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(f"UPDRAFT_{name}", str(value))
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_an_endpoint_on_another_machine_is_judged_as_one_on_this(served: Running) -> None:
    champion = served.registry.aliases("tiny")["champion"]
    with Traffic(served.url):
        made = deploy(served, "far", champion, 7.8, shadow_minutes=SECONDS / 60, canary=[0.5])
        version = made.metrics["version"]
        with pytest.raises(NotPromoted, match=r"it failed \d+ of \d+ requests \(\d+ not_a_number\)"):
            deploy(served, "far and broken", version, float("nan"), canary=[0.3], step_minutes=5)
    assert [step["step"] for step in made.metrics["trial"]] == ["shadow 1", "canary 0.5"]
    assert made.metrics["endpoint"] == f"{served.url}/v1/tiny answers with version {version}"
    assert served.registry.aliases("tiny")["champion"] == version
