"""Promotion by compare-and-swap, by the deploy stage and by hand."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tasks.core.artifacts import Manifest
from tasks.core.errors import BadInput, Conflict, Refused
from tasks.core.pipeline import find_step
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.stages import Outcome, execute
from tasks.core.store import LocalStore
from tasks.deployment import promote as promotion
from tasks.deployment.promote import promote, rollback
from tests.packages import project
from tests.stages import stage


@dataclass(frozen=True)
class Platform:
    """A store and a registry with nothing in them."""

    store: LocalStore
    registry: Registry

    def deploy(
        self, candidate: str, against: int | None = None, passed: bool = True, force: bool = False, package: str = ""
    ) -> Manifest:
        """Runs the stage for a candidate that was judged against the champion ``against``."""
        report = {"candidate": {"accuracy": 0.9}, "champion": None if against is None else {"version": against}}
        metrics = {"train": {}, "evaluate": report, "gate": {"passed": passed, "gates": []}, "package": {}}
        inputs = {name: [self._stage(name, candidate, values)] for name, values in metrics.items()}
        if package:
            inputs["package"] = [self._stage("package", f"{candidate} {package}", {})]
        step = find_step("deploy")
        return execute(step.stage, project(), inputs, store=self.store, registry=self.registry, force=force)

    def champion(self, alias: str = "champion") -> int | None:
        found = self.registry.alias("tiny", alias)
        return found.version if found else None

    def _stage(self, name: str, candidate: str, metrics: dict[str, Any]) -> Manifest:
        declare = stage(name, reproducible=False, outside=lambda ctx: {"c": candidate, "m": metrics})
        made = declare(lambda ctx: Outcome(metrics=metrics))
        return execute(made, project(), {}, store=self.store, registry=self.registry)


@pytest.fixture
def platform(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setenv("UPDRAFT_SERVING_PORT", "1")
    settings.cache_clear()
    registry = Registry(settings().registry_url)
    yield Platform(LocalStore(Path(settings().store_uri)), registry)
    registry.close()


def test_the_first_candidate_becomes_champion_with_its_reasons(platform: Platform) -> None:
    manifest = platform.deploy("a")
    assert manifest.metrics == {"version": 1, "previous": None, "endpoint": "no endpoint is running"}
    version = platform.registry.alias("tiny")
    assert version is not None and version.version == 1
    assert set(version.details) == {"metrics", "gates", "candidate", "judged_against", "run_id"}
    assert version.package.startswith("tiny/package/")
    (row,) = platform.registry.audit_log("tiny")
    assert row["details"]["why"] == "passed its gates against no champion"


def test_a_better_candidate_replaces_the_champion_and_remembers_it(platform: Platform) -> None:
    platform.deploy("a")
    assert platform.deploy("b", against=1).metrics["previous"] == 1
    assert (platform.champion(), platform.champion("previous")) == (2, 1)


def test_a_new_package_of_the_champions_weights_takes_its_place(platform: Platform) -> None:
    platform.deploy("a")
    assert platform.deploy("a", package="with another top_k").metrics["previous"] == 1
    assert (platform.champion(), platform.champion("previous")) == (2, 1)


def test_deploying_the_same_candidate_again_moves_nothing(platform: Platform) -> None:
    platform.deploy("a")
    audit = len(platform.registry.audit_log("tiny"))
    assert platform.deploy("a").cache == "HIT"
    assert platform.deploy("a", force=True).metrics["version"] == 1
    assert len(platform.registry.audit_log("tiny")) == audit
    assert [v.version for v in platform.registry.versions("tiny")] == [1]


def test_a_candidate_judged_against_another_champion_is_a_conflict(platform: Platform) -> None:
    platform.deploy("a")
    platform.deploy("b", against=1)
    for stale in (None, 1):
        with pytest.raises(Conflict):
            platform.deploy("c", against=stale)
    assert (platform.champion(), platform.champion("previous")) == (2, 1)


@pytest.mark.parametrize("against", [None, 1])
def test_of_candidates_that_race_one_wins_and_the_others_conflict(platform: Platform, against: int | None) -> None:
    if against:
        platform.deploy("first")
    together = Barrier(4)

    def race(name: str) -> int | str:
        registry = Registry(settings().registry_url)
        together.wait()
        try:
            return Platform(platform.store, registry).deploy(name, against=against).metrics["version"]
        except Conflict:
            return "conflict"
        finally:
            registry.close()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(race, "abcd"))
    assert sorted(map(str, results))[1:] == ["conflict"] * 3
    assert platform.champion() in results
    assert platform.champion("previous") == against


def test_a_candidate_that_failed_its_gates_is_never_deployed(platform: Platform) -> None:
    with pytest.raises(Refused, match="did not pass"):
        platform.deploy("a", passed=False)
    assert platform.registry.versions("tiny") == [] and platform.champion() is None


def test_an_attempt_killed_after_the_move_is_completed_by_the_next(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.deploy("a")

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "await_endpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            platform.deploy("b", against=1)
    audit = len(platform.registry.audit_log("tiny"))
    assert platform.deploy("b", against=1).metrics["version"] == 2
    assert len(platform.registry.audit_log("tiny")) == audit
    assert (platform.champion(), platform.champion("previous")) == (2, 1)


def test_rollback_goes_back_and_forth(platform: Platform) -> None:
    platform.deploy("a")
    with pytest.raises(BadInput, match="no earlier champion"):
        rollback(platform.registry, "tiny", "ana")
    platform.deploy("b", against=1)
    assert rollback(platform.registry, "tiny", "ana").version == 1
    assert (platform.champion(), platform.champion("previous")) == (1, 2)
    assert rollback(platform.registry, "tiny", "ana").version == 2
    assert platform.registry.audit_log("tiny")[-2]["who"] == "ana"


def test_promotion_by_hand_takes_a_known_version_only(platform: Platform) -> None:
    for name, against in (("a", None), ("b", 1), ("c", 2)):
        platform.deploy(name, against=against)
    assert promote(platform.registry, "tiny", 1, "ana").version == 1
    assert (platform.champion(), platform.champion("previous")) == (1, 3)
    with pytest.raises(BadInput, match=r"no version 9(.|\n)*1, 2, 3"):
        promote(platform.registry, "tiny", 9, "ana")
