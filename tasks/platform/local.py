"""``updraft run``: every stage of a project in this one process, without Airflow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.pipeline import FEATURES, TRAIN, Step, run_step, worker_name
from tasks.core.spec import Project

Report = Callable[[Manifest], None]


def run_project(
    name: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    run_id: str = "local",
    force: bool = False,
    starting: Callable[[str], None] = lambda _: None,
    finished: Report = lambda _: None,
) -> dict[str, list[Manifest]]:
    """Runs the features pipeline for every partition of the source, then the train pipeline.

    A sample data set that has not been landed yet is landed first. A candidate that fails a gate ends the run there.

    Args:
        starting: told each step's name and partition before it runs.
        finished: told each manifest.

    Returns:
        Step name to its manifests, in order.
    """
    spec = load_project(name, overrides)
    from tasks.data.source import partitions

    land_sample(spec)
    found = partitions(spec)
    done: dict[str, list[Manifest]] = {}

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
        if step.after_gate and not done["gate"][0].metrics["passed"]:
            break
        for worker in _workers(step, spec):
            run(step, worker, {source: done[source] for source in step.inputs})
    return done


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
