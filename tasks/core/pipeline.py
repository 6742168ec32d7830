"""Which stages there are and what feeds what: one definition, for Airflow's tasks and for ``updraft run``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import execute, load_manifest, load_stage
from tasks.core.store import open_store


@dataclass(frozen=True)
class Step:
    """One stage's place in a pipeline.

    Attributes:
        target: the stage, as ``module:attribute``; imported only when it runs.
        inputs: earlier steps of the same run whose manifests it gets.
        partitions_of: a step of another pipeline; it gets the manifest that stands for each partition of it.
        pool: the Airflow pool that bounds how many run at once.
        after_gate: runs only when the gate let the candidate pass.
        doc: what it does, for the Airflow UI.
    """

    name: str
    target: str
    doc: str
    inputs: tuple[str, ...] = ()
    partitions_of: str | None = None
    per: Literal["run", "trial", "rank"] = "run"
    pool: str = "default_pool"
    after_gate: bool = False


FEATURES = (
    Step(
        "ingest",
        "tasks.data.ingest:ingest",
        "Reads the partition's labels and files, decodes every image in full, and keeps the bytes as received.",
    ),
    Step(
        "validate",
        "tasks.data.validate:validate",
        "Checks the rows with Great Expectations, quarantines the bad ones with their reasons, and writes Data Docs.",
        inputs=("ingest",),
    ),
    Step(
        "features",
        "tasks.features.compute:features",
        "Computes the spec's features of every clean row and publishes them as Parquet.",
        inputs=("validate",),
    ),
    Step(
        "materialize",
        "tasks.features.materialize:materialize",
        "Applies the Feast definitions and puts the date's features into the offline and the online store.",
        inputs=("features",),
        pool="feast_writer",
    ),
)

TRAIN = (
    Step(
        "dataset",
        "tasks.features.dataset:dataset",
        "Joins labels with features point-in-time through Feast, splits by entity, and packs shards.",
        partitions_of="materialize",
    ),
    Step(
        "transform",
        "tasks.features.transform:transform",
        "Fits the TensorFlow Transform graph on the training split and applies it to every split.",
        inputs=("dataset",),
    ),
    Step(
        "tune",
        "tasks.training.tune:tune",
        "One trial of the Optuna study; the mapped tasks share one storage.",
        inputs=("dataset", "transform"),
        per="trial",
        pool="horovod_slots",
    ),
    Step(
        "train",
        "tasks.training.train:train",
        "Trains the best trial's model with Horovod ranks; a retry resumes from the last checkpoint.",
        inputs=("dataset", "transform", "tune"),
        per="rank",
        pool="horovod_slots",
    ),
    Step(
        "evaluate",
        "tasks.evaluation.evaluate:evaluate",
        "Measures candidate, champion and baseline on the same held-out split.",
        inputs=("dataset", "transform", "train"),
    ),
    Step(
        "gate",
        "tasks.evaluation.gates:gate",
        "Compares the measurements with the spec's gates; a candidate that fails one is not promoted.",
        inputs=("evaluate",),
    ),
    Step(
        "package",
        "tasks.packaging.package:package",
        "Builds a Bento with transform and model inside; refuses one that predicts otherwise than the trained model.",
        inputs=("dataset", "transform", "train", "evaluate", "gate"),
        after_gate=True,
    ),
    Step(
        "deploy",
        "tasks.deployment.promote:deploy",
        "Registers the version, makes it champion by compare-and-swap, and waits until the endpoint answers with it.",
        inputs=("train", "evaluate", "gate", "package"),
        after_gate=True,
    ),
)

MONITOR = (
    Step(
        "drift",
        "tasks.monitoring.drift:drift",
        "Compares the features of the endpoint's logged requests with the champion's training baseline.",
    ),
)

STEPS = {step.name: step for step in (*FEATURES, *TRAIN, *MONITOR)}


def trial_name(number: int) -> str:
    """The partition of trial ``number`` (from 0)."""
    return f"trial-{number:04d}"


def run_step(
    name: str,
    project: str,
    inputs: Mapping[str, Sequence[str]],
    *,
    partition: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    run_id: str = "local",
    force: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Executes one step: what an Airflow task, ``updraft stage`` and ``updraft run`` all call.

    Args:
        inputs: step name to the store paths of its manifests.
        overrides: dotted spec fields changed for this run.
        stopped: asked by long work; True ends it.

    Raises:
        BadInput: no such stage or project, or an input is missing.
        UpdraftError: the stage failed.
    """
    step = find_step(name)
    spec = load_project(project, overrides)
    store, registry = open_store(settings().store_uri), Registry(settings().registry_url)
    try:
        paths = dict(inputs)
        if step.partitions_of:
            paths[step.partitions_of] = _standing_partitions(registry, spec, step.partitions_of)
        manifests = {source: [load_manifest(store, path) for path in found] for source, found in paths.items()}
        return execute(
            load_stage(step.target),
            spec,
            manifests,
            store=store,
            registry=registry,
            partition=partition,
            run_id=run_id,
            force=force,
            stopped=stopped,
        )
    finally:
        registry.close()


def find_step(name: str) -> Step:
    """The step called ``name``.

    Raises:
        BadInput: there is none; the message lists those there are.
    """
    if name not in STEPS:
        raise BadInput(f"There is no stage {name!r}.", f"Use one of: {', '.join(STEPS)}.")
    return STEPS[name]


def _standing_partitions(registry: Registry, spec: Project, source: str) -> list[str]:
    found = list(registry.partitions(spec.name, source).values())
    if not found:
        fix = f"Run the DAG {spec.name}_features over some dates first (or: updraft run {spec.name})."
        raise BadInput(f"{spec.name}: no partition has been through {source!r} yet.", fix)
    return found
