"""Which stages there are, what each depends on, and what feeds what.

One definition, for Airflow's tasks and for ``updraft run``. Reading it imports no stage.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project, Training
from tasks.core.stages import Stage, execute, load_manifest
from tasks.core.store import open_store


@dataclass(frozen=True)
class Step:
    """One stage and its place in a pipeline.

    Attributes:
        doc: what it does, for the Airflow UI.
        inputs: earlier steps of the same run whose manifests it gets.
        partitions_of: a step of another pipeline; it gets the manifest that stands for each partition of it.
        pool: the Airflow pool that bounds how many run at once.
        after_gate: runs only when the gate let the candidate pass.
    """

    stage: Stage
    doc: str
    inputs: tuple[str, ...] = ()
    partitions_of: str | None = None
    per: Literal["run", "worker", "rank"] = "run"
    pool: str = "default_pool"
    after_gate: bool = False

    @property
    def name(self) -> str:
        """The stage's."""
        return self.stage.name


FEATURES = (
    Step(
        Stage(
            "ingest",
            "tasks.data.ingest:ingest",
            (
                *("task", "start", "end", "source.format", "source.partitions", "source.labels", "source.files"),
                *("source.entity", "source.image", "source.label", "source.event_time", "source.known_time"),
                "source.columns",
            ),
            outside="tasks.data.source:state",
        ),
        "Reads the partition's rows and files, decodes every image in full, and keeps the bytes as received.",
    ),
    Step(
        Stage(
            "validate",
            "tasks.data.validate:validate",
            ("source.format", "source.partitions", "source.columns", "classes", "validation"),
            intact="tasks.data.quarantine:stands",
        ),
        "Checks the rows, quarantines the bad ones with their reasons, and writes Great Expectations' Data Docs.",
        inputs=("ingest",),
    ),
    Step(
        Stage(
            "features",
            "tasks.features.compute:features",
            ("image", "features", "source.columns"),
            outside="tasks.runtime.embedding:state",
        ),
        "Computes the spec's features of every clean row and publishes them as Parquet.",
        inputs=("validate",),
    ),
    Step(
        Stage(
            "materialize",
            "tasks.features.materialize:materialize",
            ("image", "features", "source.columns"),
            intact="tasks.features.online:stands",
        ),
        "Applies the Feast definitions and puts the date's features into the offline and the online store.",
        inputs=("features",),
        pool="feast_writer",
    ),
)

_HOW_LONG = {"ranks", "epochs", "ensemble", "checkpoints", "timeout_minutes", "stall_minutes"}

FITTED = (
    *("task", "classes", "image", "model", "sampling"),
    *(f"training.{name}" for name in Training.model_fields if name not in _HOW_LONG),
)
"""What every model that is fitted depends on, a trial's as well as the candidate's."""

BUDGET = ("tuning.trials", "tuning.minutes")
"""What a study may be given more of: it keeps the trials that ran."""

TRAIN = (
    Step(
        Stage(
            "dataset",
            "tasks.features.dataset:dataset",
            ("task", "classes", "features", "image", "source.columns", "split", "validation.near_duplicate_bits"),
        ),
        "Joins labels with features point-in-time through Feast, splits, and packs shards.",
        partitions_of="materialize",
    ),
    Step(
        Stage("transform", "tasks.features.transform:transform", ("features", "image"), reproducible=False),
        "Fits the TensorFlow Transform graph on the training split and applies it to every split.",
        inputs=("dataset",),
    ),
    Step(
        Stage(
            "tune",
            "tasks.training.tune:tune",
            (
                *(*FITTED, "split.folds", *BUDGET),
                *("tuning.sampler", "tuning.pruner", "tuning.objectives", "tuning.epochs", "tuning.cross_validate"),
                *("tuning.seed", "tuning.space"),
            ),
            reproducible=False,
            outside="tasks.training.study.earlier:state",
        ),
        "One worker of the Optuna study: it runs trials until the study's budget is used up.",
        inputs=("dataset", "transform"),
        per="worker",
        pool="horovod_slots",
    ),
    Step(
        Stage(
            "train",
            "tasks.training.train:train",
            (*FITTED, "training.ranks", "training.epochs", "training.ensemble"),
            reproducible=False,
            outside="tasks.training.start_source:state",
        ),
        "Trains the best trial's model with Horovod ranks; a retry resumes from the last checkpoint.",
        inputs=("dataset", "transform", "tune"),
        per="rank",
        pool="horovod_slots",
    ),
    Step(
        Stage("report", "tasks.training.report:report", ("tuning.objectives", "tuning.space"), reproducible=False),
        "Draws the learning curves and the study; the DAG's tab Training shows them.",
        inputs=("tune", "train"),
    ),
    Step(
        Stage("compress", "tasks.training.compress:compress", (*FITTED, "packaging.forms"), reproducible=False),
        "Trains the smaller forms that have to be trained: pruned, distilled.",
        inputs=("dataset", "transform", "train"),
        pool="horovod_slots",
    ),
    Step(
        Stage(
            "export",
            "tasks.packaging.export:export",
            ("task", "classes", "image", "features", "online", "serving", "source.columns", "packaging"),
            reproducible=False,
        ),
        "Writes model and transform as one graph per form; refuses what predicts otherwise than the trained model.",
        inputs=("dataset", "transform", "train", "compress"),
    ),
    Step(
        Stage(
            "evaluate",
            "tasks.evaluation.evaluate:evaluate",
            ("task", "classes", "image", "features", "source.columns", "evaluation"),
            reproducible=False,
            outside="tasks.evaluation.opponent:state",
        ),
        "Measures every form of the candidate, champion and baseline on the same held-out split, with intervals.",
        inputs=("dataset", "transform", "train", "export"),
    ),
    Step(
        Stage("gate", "tasks.evaluation.gates:gate", ("gates", "packaging.forms"), reproducible=False),
        "Compares the measurements with the spec's gates; a candidate that fails one is not promoted.",
        inputs=("evaluate",),
    ),
    Step(
        Stage(
            "card",
            "tasks.evaluation.card:card",
            tuple(Project.model_fields),
            reproducible=False,
            outside="tasks.evaluation.card_page:state",
        ),
        "Writes the model card, of a refused candidate too; the DAG's tab Model shows it.",
        inputs=("dataset", "transform", "tune", "train", "report", "export", "evaluate", "gate"),
    ),
    Step(
        Stage(
            "package",
            "tasks.packaging.package:package",
            reproducible=False,
            outside="tasks.packaging.bento:service_code",
        ),
        "Builds a Bento around the form that the gate chose: transform, model and service in one file.",
        inputs=("export", "gate"),
        after_gate=True,
    ),
    Step(
        Stage("deploy", "tasks.deployment.promote:deploy", ("deployment",), reproducible=False),
        "Registers the version, tries it on live requests if the spec says so, makes it champion by compare-and-swap, "
        "and waits until the endpoint answers with it.",
        inputs=("train", "evaluate", "gate", "card", "package"),
        after_gate=True,
    ),
)

MONITOR = (
    Step(
        Stage(
            "drift",
            "tasks.monitoring.drift:drift",
            ("monitoring",),
            reproducible=False,
            outside="tasks.monitoring.window:state",
        ),
        "Compares the features of the endpoint's logged requests with the champion's training baseline.",
    ),
)

STEPS = {step.name: step for step in (*FEATURES, *TRAIN, *MONITOR)}


def worker_name(number: int) -> str:
    """The partition of a study's worker ``number`` (from 0)."""
    return f"worker-{number:02d}"


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
    missed: Callable[[], None] = lambda: None,
) -> Manifest:
    """Executes one step: what an Airflow task, ``updraft stage`` and ``updraft run`` all call.

    Args:
        inputs: step name to the store paths of its manifests; partitions that are not named are all that stand.
        overrides: dotted spec fields changed for this run.
        stopped: asked by long work; True ends it.
        missed: called before the stage works, if it has to.

    Raises:
        BadInput: no such stage or project, or an input is missing.
        UpdraftError: the stage failed.
    """
    step = find_step(name)
    spec = load_project(project, overrides)
    store, registry = open_store(settings().store_uri), Registry(settings().registry_url)
    try:
        paths = dict(inputs)
        if step.partitions_of and step.partitions_of not in paths:
            paths[step.partitions_of] = _standing_partitions(registry, spec, step.partitions_of)
        manifests = {source: [load_manifest(store, path) for path in found] for source, found in paths.items()}
        return execute(
            step.stage,
            spec,
            manifests,
            store=store,
            registry=registry,
            partition=partition,
            run_id=run_id,
            force=force,
            stopped=stopped,
            missed=missed,
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
