"""Promotion by compare-and-swap, by the deploy stage and by hand."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tasks.core import approvals
from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import BadInput, Conflict, NotPromoted, Refused
from tasks.core.pipeline import find_step
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.core.store import LocalStore
from tasks.deployment import promote as promotion
from tasks.deployment.promote import promote, rollback, withdraw
from tests.packages import project
from tests.servers.http import Inbox
from tests.stages import stage


@dataclass(frozen=True)
class Platform:
    """A store and a registry with nothing in them."""

    store: LocalStore
    registry: Registry

    def deploy(
        self,
        candidate: str,
        against: int | None = None,
        passed: bool = True,
        force: bool = False,
        package: str = "",
        spec: Project | None = None,
    ) -> Manifest:
        """Runs the stage for a candidate that was judged against the champion ``against``."""
        report = {"candidate": {"accuracy": 0.9}, "champion": None if against is None else {"version": against}}
        gate = {"passed": passed, "gates": [], "chosen": "plain"}
        metrics = {"train": {}, "evaluate": report, "gate": gate, "card": {}, "package": {}}
        inputs = {name: [self._stage(name, candidate, values)] for name, values in metrics.items()}
        if package:
            inputs["package"] = [self._stage("package", f"{candidate} {package}", {})]
        step = find_step("deploy")
        return execute(step.stage, spec or project(), inputs, store=self.store, registry=self.registry, force=force)

    def champion(self, alias: str = "champion") -> int | None:
        found = self.registry.alias("tiny", alias)
        return found.version if found else None

    def _stage(self, name: str, candidate: str, metrics: dict[str, Any]) -> Manifest:
        declare = stage(name, reproducible=False, outside=lambda ctx: {"c": candidate, "m": metrics})
        made = declare(lambda ctx: _write(ctx, metrics))
        return execute(made, project(), {}, store=self.store, registry=self.registry)

    def promote(self, version: int, **options: str) -> int | None:
        """Promotes by hand."""
        return promote(self.registry, self.store, "tiny", version, who="ana", why="a reason", **options)

    def rollback(self, **options: str) -> tuple[int, int]:
        """Goes back."""
        return rollback(self.registry, self.store, "tiny", who="ana", **options)

    def moves(self) -> list[Mapping[str, Any]]:
        """The audit rows of aliases, oldest first."""
        return [row for row in self.registry.audit_log("tiny") if row["action"] == "move_alias"]


SIGNATURE = {"form": "plain", "lock": "f" * 64, "libraries": {"numpy": "2.4.6"}}


def _write(ctx: Context, metrics: dict[str, Any]) -> Outcome:
    (ctx.out / "signature.json").write_text(json.dumps(SIGNATURE), encoding="utf-8")
    return Outcome(metrics=metrics)


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    registry = Registry(settings().registry_url)
    yield Platform(LocalStore(Path(settings().store_uri)), registry)
    registry.close()


def test_the_first_candidate_becomes_champion_with_its_reasons(platform: Platform) -> None:
    manifest = platform.deploy("a")
    assert manifest.metrics == {"version": 1, "previous": None, "endpoint": "no endpoint is running"}
    version = platform.registry.alias("tiny")
    assert version is not None and version.version == 1
    assert version.package.startswith("tiny/package/")
    assert version.details["card"].startswith("tiny/card/")
    assert {name: version.details[name] for name in SIGNATURE} == SIGNATURE
    assert version.details["metrics"]["candidate"] == {"accuracy": 0.9}
    registered, moved = platform.registry.audit_log("tiny")
    assert (registered["action"], registered["run_id"]) == ("register", "local")
    assert moved["details"]["why"] == "passed its gates against no champion"


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
        platform.rollback()
    platform.deploy("b", against=1)
    assert platform.rollback() == (1, 2)
    assert (platform.champion(), platform.champion("previous")) == (1, 2)
    assert platform.rollback(why="it was right after all") == (2, 1)
    first, second = platform.moves()[-2:]
    assert (first["who"], first["details"]["why"]) == ("ana", "rolled back from version 2")
    assert second["details"]["why"] == "it was right after all"


def test_promotion_by_hand_takes_a_known_version_and_keeps_the_reason(platform: Platform) -> None:
    for name, against in (("a", None), ("b", 1), ("c", 2)):
        platform.deploy(name, against=against)
    assert platform.promote(1) == 3
    assert (platform.champion(), platform.champion("previous")) == (1, 3)
    assert platform.moves()[-1]["details"] == {"alias": "champion", "from": 3, "to": 1, "why": "a reason"}
    audit = len(platform.moves())
    assert platform.promote(1) == 1
    assert len(platform.moves()) == audit
    with pytest.raises(BadInput, match=r"no version 9(.|\n)*1, 2, 3"):
        platform.promote(9)


def test_another_alias_moves_alone(platform: Platform) -> None:
    platform.deploy("a")
    platform.deploy("b", against=1)
    assert platform.promote(1, alias="challenger") is None
    assert platform.promote(2, alias="challenger") == 1
    assert platform.registry.aliases("tiny") == {"champion": 2, "previous": 1, "challenger": 2}


def test_a_version_whose_package_is_gone_is_not_promoted(platform: Platform) -> None:
    platform.deploy("a")
    platform.deploy("b", against=1)
    platform.store.delete(platform.registry.version("tiny", 1).package.rpartition("/")[0])
    for attempt in (lambda: platform.promote(1), platform.rollback):
        with pytest.raises(BadInput, match="package of version 1 is not in the store"):
            attempt()
    assert platform.champion() == 2


def test_a_candidate_that_nobody_approved_is_not_deployed(platform: Platform) -> None:
    spec = replace(project(), {"deployment.approval": True})
    with pytest.raises(Refused, match=r"nobody has approved(.|\n)*updraft run tiny --approve"):
        platform.deploy("a", spec=spec)
    assert platform.champion() is None
    gate = platform.registry.partitions("tiny", "gate")[""].split("/")[2]
    approvals.answer(platform.registry, "tiny", gate, yes=True, who="ana")
    platform.deploy("a", spec=spec)
    assert platform.champion() == 1
    approvals.answer(platform.registry, "tiny", gate, yes=False, who="bo")
    assert not approvals.approved(platform.registry, "tiny", gate), "the last answer counts"


def test_what_no_endpoint_can_try_is_not_promoted(platform: Platform) -> None:
    spec = replace(project(), {"deployment.canary": [0.1]})
    platform.deploy("a", spec=spec)
    assert platform.champion() == 1, "the first model has nothing to be tried beside"
    with pytest.raises(NotPromoted, match=r"no endpoint is running(.|\n)*updraft models promote tiny 2"):
        platform.deploy("b", against=1, spec=spec)
    assert platform.registry.aliases("tiny") == {"champion": 1}
    row = platform.registry.audit_log("tiny")[-1]
    assert (row["action"], row["details"]["version"]) == ("end_trial", 2)
    assert "no endpoint is running" in row["details"]["why"]
    platform.promote(2)
    assert platform.champion() == 2


def test_a_trial_is_withdrawn_by_hand(platform: Platform) -> None:
    platform.deploy("a")
    platform.deploy("b", against=1)
    with pytest.raises(BadInput, match="No version of tiny is tried"):
        withdraw(platform.registry, "tiny", who="ana", why="")
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=1)
    platform.registry.set_trial("tiny", 1, "canary", 0.1, until=until, expected=None, who="deploy", why="")
    assert withdraw(platform.registry, "tiny", who="ana", why="a customer called") == 1
    assert platform.registry.aliases("tiny") == {"champion": 2, "previous": 1}
    row = platform.registry.audit_log("tiny")[-1]
    assert (row["action"], row["who"], row["details"]["why"]) == ("end_trial", "ana", "a customer called")


def test_a_promotion_is_told(platform: Platform, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDRAFT_NOTIFY", inbox.address)
    settings.cache_clear()
    platform.deploy("a")
    (message,) = inbox.messages
    assert message["title"] == "tiny: version 1 is champion"
