"""Puts a pipeline's steps into the DAG at hand: what the files of ``dags/`` share."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator

from plugins.operators.approval_operator import CandidateApproval
from plugins.operators.horovod_operator import HorovodOperator
from plugins.operators.stage_operator import StageOperator
from tasks.core.pipeline import Step
from tasks.core.spec import Project

Task = StageOperator | MappedOperator

RETRIES = 2
RETRY_DELAY = timedelta(seconds=5)


def midnight(day: date) -> datetime:
    """The day's first moment, UTC."""
    return datetime.combine(day, time(), UTC)


def dag_arguments(spec: Project, pipeline: str, doc: str) -> dict[str, Any]:
    """What every DAG of a project has in common, and its schedule.

    A scheduled run is for the interval that has just ended: only then has all of a day's data arrived.
    """
    schedule = getattr(spec.schedules, pipeline)
    return {
        "schedule": schedule and CronDataIntervalTimetable(schedule, timezone="UTC"),
        "start_date": midnight(spec.start),
        "dag_id": f"{spec.name}_{pipeline}",
        "description": spec.description,
        "doc_md": f"**{spec.name}** — {spec.description}\n\n{doc}\n\nMade from `projects/{spec.name}.yaml`.",
        "tags": [spec.name, pipeline, "updraft"],
        "default_args": {
            "owner": spec.owner,
            "retries": RETRIES,
            "retry_delay": RETRY_DELAY,
            "execution_timeout": timedelta(minutes=spec.training.timeout_minutes),
        },
    }


def add_steps(
    steps: Sequence[Step],
    spec: Project,
    *,
    partition: str | None = None,
    workers: XComArg | None = None,
    param_fields: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Adds one task per step to the current DAG, wired by their inputs; a step per worker is mapped over ``workers``.

    Where the spec wants an approval, a task that asks for it stands between the model card and what comes after the
    gate.

    Returns:
        Step name to task.
    """
    made: dict[str, Task] = {}
    for step in steps:
        operator = HorovodOperator if step.per == "rank" else StageOperator
        arguments: dict[str, Any] = {
            "task_id": step.name,
            "step": step.name,
            "project": spec.name,
            "inputs": {name: made[name].output for name in step.inputs},
            "param_fields": dict(param_fields or {}),
            "pool": step.pool,
            "pool_slots": spec.training.ranks if step.per == "rank" else 1,
            "doc_md": step.doc,
        }
        if step.name == "deploy":  # it waits while live requests judge the candidate
            minutes = spec.training.timeout_minutes + spec.deployment.minutes
            arguments["execution_timeout"] = timedelta(minutes=minutes)
        if step.per == "worker":
            assert workers is not None, f"{step.name} is mapped over workers"
            arguments["map_index_template"] = "{{ task.partition }}"
            made[step.name] = operator.partial(**arguments).expand(partition=workers)
        else:
            made[step.name] = operator(partition=partition, **arguments)
    after_gate = [made[step.name] for step in steps if step.after_gate]
    if after_gate and spec.deployment.approval:
        _ask_first(spec, made["gate"], made["card"], after_gate)
    return made


def _ask_first(spec: Project, gate: Task, card: Task, after_gate: Sequence[Task]) -> None:
    """Adds the approval between the card and all that comes after the gate: a no skips each of them."""
    approve = CandidateApproval(
        task_id="approve",
        project=spec.name,
        gate=gate.output,  # type: ignore[arg-type]
        doc_md="Asks a person whether the candidate may become champion; the answer stands in the audit log.",
    )
    card >> approve >> list(after_gate)
