"""``updraft run``: every stage of a project in this one process, without Airflow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tasks.core import approvals
from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.pipeline import FEATURES, TRAIN, Step, run_step, worker_name
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project

Report = Callable[[Manifest], None]


def run_project(
    name: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    run_id: str = "local",
    force: bool = False,
    approved_by: str | None = None,
    only: Sequence[str] | None = None,
    given: Mapping[str, Sequence[Manifest]] | None = None,
    until: str | None = None,
    starting: Callable[[str], None] = lambda _: None,
    finished: Report = lambda _: None,
) -> dict[str, list[Manifest]]:
    """Runs the features pipeline for every partition of the source, then the train pipeline.

    A sample data set that has not been landed yet is landed first. A candidate that fails a gate ends the run, and so
    does one that the spec wants approved and nobody has.

    Args:
        approved_by: who says yes to a candidate that passes its gates.
        only: partitions to take, and no others that the store has; None: all.
        given: manifests of steps of the train pipeline that are to be used as they are, without asking the step.
        until: the last step; None: all.
        starting: told each step's name and partition before it runs.
        finished: told each manifest.

    Returns:
        Step name to its manifests, in order.
    """
    spec = load_project(name, overrides)
    from tasks.data.source import partitions

    land_sample(spec)
    found = partitions(spec) if only is None else only
    done: dict[str, list[Manifest]] = {name: list(manifests) for name, manifests in (given or {}).items()}

    def run(step: Step, partition: str | None, inputs: Mapping[str, Sequence[Manifest]]) -> Manifest:
        starting(f"{step.name} {partition}" if partition else step.name)
        paths = {source: [m.path for m in manifests] for source, manifests in inputs.items()}
        manifest = run_step(
            step.name,
            name,
            paths,
            partition=partition,
            overrides=overrides,
            run_id=run_id,
            force=force,
            missed=_warm_up,
        )
        done.setdefault(step.name, []).append(manifest)
        finished(manifest)
        return manifest

    for partition in found:
        made: dict[str, list[Manifest]] = {}
        for step in FEATURES:
            made[step.name] = [run(step, partition, {source: made[source] for source in step.inputs})]
    for step in TRAIN:
        if step.after_gate and not _may_go_on(spec, done["gate"][0], approved_by, run_id):
            break
        named = step.inputs if only is None else (*step.inputs, *filter(None, [step.partitions_of]))
        for worker in _workers(step, spec) if step.name not in done else ():
            run(step, worker, {source: done[source] for source in named})
        if step.name == until:
            break
    return done


def _may_go_on(spec: Project, gate: Manifest, approved_by: str | None, run_id: str) -> bool:
    """Whether the candidate passed its gates and, where the spec asks for it, a person's approval."""
    if not gate.metrics["passed"] or not spec.deployment.approval:
        return bool(gate.metrics["passed"])
    registry = Registry(settings().registry_url)
    try:
        if approved_by and not approvals.approved(registry, spec.name, gate.key):
            approvals.answer(registry, spec.name, gate.key, yes=True, who=approved_by, run_id=run_id)
        return approvals.approved(registry, spec.name, gate.key)
    finally:
        registry.close()


def land_sample(spec: Project) -> None:
    """Lands the data set that ships with the project, where it has one that is not there yet."""
    if spec.source.sample:
        from tasks.data.samples import land

        land(spec)


def _warm_up() -> None:
    """Starts the process that ranks are forked from, so that its imports overlap the stages before training."""
    from tasks.training.jobs.launcher import warm_up

    warm_up()


def _workers(step: Step, spec: Project) -> Iterator[str | None]:
    """One after the other, so the first of them runs the whole study."""
    if step.per == "worker":
        yield from map(worker_name, range(spec.tuning.workers))
    else:
        yield None
