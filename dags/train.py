"""``<project>_train``: from the feature store to a promoted champion, or to a refusal that says why."""

from airflow.sdk import DAG, Param, task

from plugins.chains import add_steps, dag_arguments
from tasks.core.config import sound_projects
from tasks.core.pipeline import TRAIN, worker_name

DOC = """\
Joins features point-in-time, fits the transform, searches hyperparameters with parallel workers, trains with Horovod,
judges candidate against champion on the same held-out rows, writes the model card (tab **Model**), packages, promotes
and deploys. A candidate that fails a gate, or that a person says no to where the spec asks for approval, ends the run
as *not promoted*: packaging and deployment are skipped, the champion stays."""


@task(doc_md="Names the study's workers, one mapped task each.")
def plan_workers(params: dict | None = None) -> list[str]:
    """One partition name per worker of this run."""
    return [worker_name(number) for number in range(params["workers"])]  # type: ignore[index]


for spec in sound_projects():
    with DAG(
        **dag_arguments(spec, "train", DOC),
        catchup=False,
        max_active_runs=1,
        params={
            "trials": Param(spec.tuning.trials, type="integer", minimum=1, maximum=10_000, title="Trials of the study"),
            "minutes": Param(
                spec.tuning.minutes,
                type=["null", "number"],
                exclusiveMinimum=0,
                title="Minutes after which no trial starts",
            ),
            "workers": Param(
                spec.tuning.workers, type="integer", minimum=1, maximum=256, title="Tasks that run trials side by side"
            ),
            "ranks": Param(
                spec.training.ranks, type="integer", minimum=1, maximum=spec.training.ranks, title="Horovod ranks"
            ),
            "force": Param(False, type="boolean", title="Run every stage again, even if nothing changed"),
            "set": Param({}, type="object", title="Other spec fields for this run, e.g. {'training.epochs': 5}"),
        },
    ) as dag:
        fields = {name: f"tuning.{name}" for name in ("trials", "minutes", "workers")}
        add_steps(TRAIN, spec, workers=plan_workers(), param_fields={"ranks": "training.ranks"} | fields)
    globals()[dag.dag_id] = dag
