"""Every DAG parses, keeps the house rules, and explains itself in the UI."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from tasks.core.config import load_project, project_names
from tasks.core.pipeline import FEATURES, MONITOR, TRAIN
from tasks.core.settings import ROOT, settings

HEAVY = (
    "tensorflow",
    "keras",
    "numpy",
    "pandas",
    "pyarrow",
    "feast",
    "optuna",
    "great_expectations",
    "bentoml",
    "sklearn",
)


@pytest.fixture(scope="module")
def dags() -> DagBag:
    bag = DagBag(str(ROOT / "dags"), bundle_name="tests")
    assert bag.import_errors == {}
    return bag


def test_each_project_has_its_dags(dags: DagBag) -> None:
    wanted = {f"{name}_{pipeline}" for name in project_names() for pipeline in ("features", "train", "monitor")}
    assert set(dags.dags) == wanted
    assert wanted


def test_policies(dags: DagBag) -> None:
    for dag in dags.dags.values():
        assert dag.doc_md, dag.dag_id
        assert dag.tags, dag.dag_id
        assert dag.max_active_runs >= 1
        for task in dag.tasks:
            where = f"{dag.dag_id}.{task.task_id}"
            assert task.owner not in ("", "airflow"), where
            assert task.retries >= 1, where
            assert task.execution_timeout, where
            assert task.doc_md, where


@pytest.mark.parametrize(("pipeline", "steps"), [("features", FEATURES), ("train", TRAIN), ("monitor", MONITOR)])
def test_tasks_are_the_pipelines_steps_wired_alike(dags: DagBag, pipeline: str, steps: tuple) -> None:  # type: ignore[type-arg]
    dag = dags.dags[f"digits_{pipeline}"]
    assert {step.name for step in steps} == set(dag.task_ids) - {"plan_workers"}
    for step in steps:
        task = dag.get_task(step.name)
        assert task.upstream_task_ids - {"plan_workers"} == set(step.inputs)
        assert task.pool == step.pool


def test_training_takes_a_slot_per_rank(dags: DagBag) -> None:
    spec = load_project("digits")
    assert dags.dags["digits_train"].get_task("train").pool_slots == spec.training.ranks == 2


def test_the_train_dag_has_typed_params(dags: DagBag) -> None:
    params = dags.dags["digits_train"].params
    assert params.dump() == {
        "trials": 6,
        "minutes": None,
        "workers": 2,
        "ranks": 2,
        "force": False,
        "set": {},
    }
    for name, wrong in (("trials", "many"), ("minutes", 0), ("workers", 0), ("ranks", 99), ("force", "perhaps")):
        with pytest.raises(Exception, match=name):
            params[name] = wrong


def test_a_study_has_as_many_workers_as_it_is_given(dags: DagBag) -> None:
    plan = dags.dags["digits_train"].get_task("plan_workers")
    assert plan.python_callable(params={"workers": 3}) == ["worker-00", "worker-01", "worker-02"]


def test_parsing_imports_no_ml_library() -> None:
    code = (
        "import sys; from airflow.dag_processing.dagbag import DagBag;"
        "bag = DagBag('dags', bundle_name='tests'); assert len(bag.dags) >= 3, bag.import_errors;"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_broken_spec_is_reported_and_hides_no_other_dag(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (ROOT / "projects").glob("*.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.yaml").write_text("name: broken\ntrainning: {}\n")
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path))
    settings.cache_clear()
    bag = DagBag(str(ROOT / "dags"), bundle_name="tests")
    assert "digits_train" in bag.dags
    ((path, error),) = bag.import_errors.items()
    assert path.endswith("check_specs.py")
    assert "broken.yaml" in error
    assert "Did you mean 'training'?" in error


def test_a_scheduled_run_is_for_the_interval_that_has_ended(dags: DagBag) -> None:
    for pipeline, length in (("features", timedelta(days=1)), ("monitor", timedelta(hours=1))):
        # As the scheduler reads it.
        dag = DagSerialization.from_dict(DagSerialization.to_dict(dags.dags[f"digits_{pipeline}"]))
        first = dag.timetable.next_dagrun_info(
            last_automated_data_interval=None, restriction=TimeRestriction(dag.start_date, None, catchup=True)
        )
        assert first is not None
        assert first.data_interval.start == dag.start_date
        assert first.run_after == first.data_interval.end == dag.start_date + length


def test_a_person_is_asked_between_the_card_and_what_follows_the_gate(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = (ROOT / "projects" / "digits.yaml").read_text()
    (tmp_path / "digits.yaml").write_text(f"{spec}\ndeployment: {{approval: true, canary: [0.1], step_minutes: 600}}\n")
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path))
    settings.cache_clear()
    bag = DagBag(str(ROOT / "dags"), bundle_name="tests")
    assert bag.import_errors == {}
    approve = bag.dags["digits_train"].get_task("approve")
    assert approve.upstream_task_ids == {"gate", "card"}
    assert approve.downstream_task_ids == {step.name for step in TRAIN if step.after_gate}
    assert approve.doc_md
    assert approve.execution_timeout
    assert bag.dags["digits_train"].get_task("deploy").execution_timeout >= timedelta(minutes=600)


def test_dag_files_are_thin() -> None:
    for path in (ROOT / "dags").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 100, path
