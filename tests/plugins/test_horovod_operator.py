"""The operator of Horovod jobs: its figures as XCom, its link, and which failures Airflow is to retry."""

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException

from plugins.operators.horovod_operator import HorovodOperator
from tasks.core import pipeline
from tasks.core.config import load_project
from tasks.core.errors import BadInput, Preempted, RankRaised
from tasks.core.registry import Registry
from tasks.core.settings import ROOT, settings
from tasks.core.stages import Outcome, execute
from tasks.core.store import open_store
from tests.stages import stage


class Pushes(dict):  # type: ignore[type-arg]
    """What Airflow gives `execute` as ``ti``, as far as an operator looks: it keeps what is pushed."""

    def xcom_push(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@pytest.fixture
def operator(home: Path) -> HorovodOperator:
    return HorovodOperator(task_id="train", step="train", project="digits", inputs={})


def context() -> dict[str, Any]:
    return {"params": {}, "run_id": "manual-1", "ti": Pushes()}


def train(operator: HorovodOperator, monkeypatch: pytest.MonkeyPatch, result: Any) -> dict[str, Any]:
    """Executes the task with a stage of this result or error in the place of a training that takes minutes."""

    def work(ctx: Any) -> Outcome:
        if isinstance(result, Exception):
            raise result
        return Outcome(metrics=result)

    def run_step(*arguments: Any, **options: Any) -> Any:
        made = stage("train", reproducible=False)(work)
        store, registry = open_store(settings().store_uri), Registry(settings().registry_url)
        return execute(made, load_project("digits"), {}, store=store, registry=registry)

    monkeypatch.setattr("plugins.operators.stage_operator.run_step", run_step)
    given = context()
    operator.execute(given)
    pushed: dict[str, Any] = given["ti"]
    return pushed


def test_the_figures_of_the_model_are_pushed(operator: HorovodOperator, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {"val_accuracy": 0.75, "epochs": 6, "weights_digest": "ab12", "trials": [{"number": 0}]}
    pushed = train(operator, monkeypatch, metrics)
    assert pushed == {"metrics": {"val_accuracy": 0.75, "epochs": 6, "weights_digest": "ab12"}}


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (RankRaised("rank 1 of 2 ended with exit code 1\n  [rank 1] ValueError"), AirflowFailException),
        (BadInput("rows.csv has no column 'label'"), AirflowFailException),
        (Preempted("rank 1 of 2 was ended by SIGTERM from outside"), Preempted),
    ],
)
def test_what_a_retry_cannot_mend_fails_at_once(
    operator: HorovodOperator, monkeypatch: pytest.MonkeyPatch, error: Exception, seen: type[Exception]
) -> None:
    with pytest.raises(seen) as caught:
        train(operator, monkeypatch, error)
    assert type(caught.value) is seen
    assert str(error) in str(caught.value)


def test_the_training_task_links_to_its_page_and_takes_a_slot_per_rank(home: Path) -> None:
    dag = DagBag(str(ROOT / "dags" / "train.py")).dags["digits_train"]
    task = dag.get_task("train")
    (link,) = task.operator_extra_links
    assert link.get_link(task, ti_key=type("Key", (), {"dag_id": "digits_train"})) == "/updraft/digits_train/training"
    assert task.pool == pipeline.find_step("train").pool == "horovod_slots"
    assert task.pool_slots == load_project("digits").training.ranks
