"""``<project>_train``: from the feature store to a promoted champion, or to a refusal that says why."""

from airflow.sdk import DAG, Param, task

from plugins.chains import add_steps, dag_arguments
from tasks.core.config import sound_projects
from tasks.core.pipeline import TRAIN, trial_name

DOC = """\
Joins features point-in-time, fits the transform, searches hyperparameters in parallel trials, trains with Horovod,
judges candidate against champion on the same held-out rows, packages, promotes and deploys. A candidate that fails a
gate ends the run as *not promoted*: packaging and deployment are skipped, the champion stays."""


@task(doc_md="Names the study's trials, one mapped task each.")
def plan_trials(params: dict | None = None) -> list[str]:
    """One partition name per trial of this run."""
    return [trial_name(number) for number in range(params["trials"])]  # type: ignore[index]


for spec in sound_projects():
    with DAG(
        **dag_arguments(spec, "train", DOC),
        catchup=False,
        max_active_runs=1,
        params={
            "trials": Param(spec.tuning.trials, type="integer", minimum=1, maximum=1000, title="Trials of the study"),
            "ranks": Param(
                spec.training.ranks, type="integer", minimum=1, maximum=spec.training.ranks, title="Horovod ranks"
            ),
            "force": Param(False, type="boolean", title="Run every stage again, even if nothing changed"),
            "set": Param({}, type="object", title="Other spec fields for this run, e.g. {'training.epochs': 5}"),
        },
    ) as dag:
        fields = {"trials": "tuning.trials", "ranks": "training.ranks"}
        add_steps(TRAIN, spec, trials=plan_trials(), param_fields=fields)
    globals()[dag.dag_id] = dag
