"""The task that asks a person: whom it asks, what it writes down, what a no skips."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from plugins.operators.approval_operator import NOBODY, CandidateApproval
from tasks.core import approvals
from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.stages import Outcome, execute
from tasks.core.store import open_store
from tests.servers.http import Inbox
from tests.stages import stage

GATE = {"gate": "accuracy at least 0.97", "detail": "0.9864", "passed": True}


@pytest.fixture
def registry(home: Path) -> Registry:
    """The test's own."""
    return Registry(settings().registry_url)


def decision(registry: Registry, passed: bool = True) -> Manifest:
    """A gate's artifact."""
    metrics = {"passed": passed, "why": [] if passed else ["accuracy at least 0.97: 0.9000"], "gates": [GATE]}
    made = stage("gate", reproducible=False)(lambda ctx: Outcome(metrics=metrics))
    return execute(made, load_project("digits"), {}, store=open_store(settings().store_uri), registry=registry)


def operator(gate: Manifest) -> CandidateApproval:
    """The task, in a DAG of its own."""
    with DAG("digits_train", schedule=None):
        return CandidateApproval(task_id="approve", project="digits", gate=gate.path)


def context(task: CandidateApproval) -> dict[str, Any]:
    """What Airflow gives a task, as far as this one looks."""

    class Instance:
        id = "00000000-0000-0000-0000-000000000000"

    return {"run_id": "manual-1", "dag": task.dag, "task": task, "task_instance": Instance(), "ti": Instance()}


def asked(task: CandidateApproval, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Airflow is told to show, until the task waits."""
    shown: dict[str, Any] = {}
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **told: shown.update(told)
    )
    with pytest.raises(TaskAwaitingInput):
        task.execute(context(task))
    return shown


def answered(task: CandidateApproval, *chosen: str, by: str | None = "ana") -> None:
    """The person's answer, as Airflow hands it over."""
    user = {"id": "7", "name": by} if by else None
    event = {"chosen_options": list(chosen), "params_input": {}, "responded_by_user": user}
    task.execute_complete(context(task), event | {"responded_at": datetime.now(UTC)})


def test_it_shows_the_gates_waits_and_tells_people(
    registry: Registry, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPDRAFT_NOTIFY", inbox.address)
    settings.cache_clear()
    shown = asked(operator(decision(registry)), monkeypatch)
    assert shown["options"] == ["Approve", "Reject"]
    assert "accuracy at least 0.97: 0.9864" in shown["body"]
    (message,) = inbox.messages
    assert message["title"] == "digits: a candidate waits for approval"


def test_a_yes_is_written_down_and_not_asked_for_again(registry: Registry) -> None:
    gate = decision(registry)
    answered(operator(gate), "Approve")
    assert approvals.approved(registry, "digits", gate.key)
    (row,) = registry.audit_log("digits")
    assert (row["action"], row["who"], row["run_id"]) == ("approval", "ana", "manual-1")
    task = operator(gate)
    assert task.execute(context(task)) is None


@pytest.mark.parametrize(("by", "who"), [("ana", "ana"), (None, NOBODY)])
def test_a_no_or_no_answer_is_written_down_and_may_be_asked_for_again(
    registry: Registry, by: str | None, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = decision(registry)
    answered(operator(gate), "Reject", by=by)
    (row,) = registry.audit_log("digits")
    assert (row["who"], row["details"]["approved"]) == (who, False)
    assert asked(operator(gate), monkeypatch)


def test_nobody_is_asked_about_a_refused_candidate(registry: Registry) -> None:
    task = operator(decision(registry, passed=False))
    with pytest.raises(AirflowSkipException, match="Not promoted"):
        task.execute(context(task))
