"""Backfilling a range of dates: what it would do, and doing it, through Airflow or in this process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from tasks.core.artifacts import Manifest
from tasks.core.errors import BadInput
from tasks.core.pipeline import FEATURES, run_step
from tasks.core.registry import Registry
from tasks.core.settings import Settings
from tasks.core.spec import Project
from tasks.core.stages import foresee
from tasks.core.store import open_store
from tasks.data.source import partitions
from tasks.platform.local import land_sample


@dataclass(frozen=True)
class Planned:
    """What a backfill would do for one date.

    Attributes:
        standing: stages whose artifacts stand: they are HITs.
        runs: the others: the first would work, those after it where its output differs from what they know.
        because: why the first of those would.
    """

    date: str
    standing: tuple[str, ...]
    runs: tuple[str, ...]
    because: str

    def __str__(self) -> str:
        if not self.runs:
            return f"{self.date}: nothing to do"
        first, *later = self.runs
        follows = f"; then {', '.join(later)}, unless what it makes is unchanged" if later else ""
        return f"{self.date}: runs {first} ({self.because}){follows}"


def dates_between(spec: Project, first: date | None, last: date | None) -> list[str]:
    """The dates that the source holds from ``first`` to ``last``, both included; None: no bound.

    Raises:
        BadInput: there are none.
    """
    land_sample(spec)
    held = partitions(spec)
    chosen = [day for day in held if (not first or day >= str(first)) and (not last or day <= str(last))]
    if not chosen:
        there = f"{held[0]} to {held[-1]}" if held else "none"
        message = f"{spec.name}: the source holds no date from {first or 'the start'} to {last or 'the end'}."
        raise BadInput(message, f"Dates that it holds: {there}.")
    return chosen


def plan(spec: Project, dates: list[str], settings: Settings) -> Iterator[Planned]:
    """What a backfill of the dates would do, date by date; nothing runs."""
    store, registry = open_store(settings.store_uri), Registry(settings.registry_url)
    try:
        for day in dates:
            made: dict[str, Manifest] = {}
            because = ""
            for step in FEATURES:
                inputs = {source: [made[source]] for source in step.inputs}
                found, because = foresee(step.stage, spec, inputs, store=store, registry=registry, partition=day)
                if found is None:
                    break
                made[step.name] = found
            runs = tuple(step.name for step in FEATURES if step.name not in made)
            yield Planned(day, tuple(made), runs, because if runs else "")
    finally:
        registry.close()


def backfill_here(spec: Project, dates: list[str], run_id: str) -> Iterator[Manifest]:
    """Takes each date through the features pipeline in this process; gives each stage's manifest as it is made."""
    for day in dates:
        made: dict[str, str] = {}
        for step in FEATURES:
            inputs = {source: [made[source]] for source in step.inputs}
            manifest = run_step(step.name, spec.name, inputs, partition=day, run_id=run_id)
            made[step.name] = manifest.path
            yield manifest


def backfill_through_airflow(spec: Project, dates: list[str], settings: Settings, say: Callable[[str], None]) -> None:
    """Lets Airflow take each date through ``<project>_features``, and follows it to its end.

    Raises:
        UpdraftError: Airflow does not answer, or a run failed; names the task and its page.
    """
    from tasks.platform.airflow import Airflow

    dag = f"{spec.name}_features"
    first, last = date.fromisoformat(dates[0]), date.fromisoformat(dates[-1])
    with Airflow(settings) as airflow:
        airflow.wait_until_parsed([dag])
        # The runs must stand before the DAG is unpaused: else its catch-up makes runs of its own for the same dates.
        airflow.backfill(dag, first, last)
        airflow.unpause(dag)
        day = {run.id: run.date for run in airflow.runs(dag, first, last)}
        for task in airflow.follow(dag, day):
            if task.state in ("success", "failed", "skipped", "up_for_retry"):
                say(f"{day[task.run]} {task.name}: {task.state}")
