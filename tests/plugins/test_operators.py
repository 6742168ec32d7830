"""The operators around real stages: what a task returns, when it fails, is skipped, is stopped."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from plugins.operators.horovod_operator import HorovodOperator
from plugins.operators.stage_operator import StageOperator
from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.errors import RankFailed
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.stages import Context, Outcome, execute, load_manifest
from tasks.core.store import open_store
from tasks.data.samples import land
from tests.digits import open_platform
from tests.stages import stage


def context(**params: Any) -> dict[str, Any]:
    """What Airflow gives `execute`, as far as an operator looks."""
    return {"params": params, "run_id": "manual-1"}


def standing(name: str, metrics: dict[str, Any]) -> Manifest:
    """A published artifact that has only metrics."""
    made = stage(name, reproducible=False)(lambda ctx: Outcome(metrics=metrics))
    store, registry = open_store(settings().store_uri), Registry(settings().registry_url)
    return execute(made, load_project("digits"), {}, store=store, registry=registry)


@pytest.fixture
def ingest(home: Path) -> StageOperator:
    land(load_project("digits"))
    return StageOperator(task_id="ingest", step="ingest", project="digits", inputs={}, partition="2026-01-01")


def test_a_task_returns_the_path_of_its_manifest_and_no_data(ingest: StageOperator) -> None:
    path = ingest.execute(context())
    manifest = load_manifest(open_store(settings().store_uri), path)
    assert (manifest.stage, manifest.partition, manifest.cache) == ("ingest", "2026-01-01", "MISS")
    assert ingest.execute(context()) == path


def test_params_override_the_spec_for_this_run(ingest: StageOperator) -> None:
    ingest.param_fields = {"trials": "tuning.trials", "seed": "training.seed"}
    with pytest.raises(AirflowFailException, match=r"tuning\.trials"):
        ingest.execute(context(trials=0, seed=1))
    with pytest.raises(AirflowFailException, match="Did you mean 'ranks'"):
        ingest.execute(context(set={"training.rank": 1}))
    assert ingest.execute(context(trials=2, seed=None, set={"training.ranks": 1})).startswith("digits/ingest/")


def test_force_runs_again_under_a_key_of_its_own(ingest: StageOperator) -> None:
    assert ingest.execute(context(force=True)) != ingest.execute(context())


def test_bad_input_fails_at_once_since_a_retry_cannot_mend_it(ingest: StageOperator) -> None:
    ingest.partition = "2026-02-31"
    with pytest.raises(AirflowFailException, match="2026-02-31"):
        ingest.execute(context())


def test_what_the_gate_refused_is_skipped_with_the_reason(home: Path) -> None:
    gate = standing("gate", {"passed": False, "why": ["accuracy at least 0.97: 0.9000"]})
    package = StageOperator(task_id="package", step="package", project="digits", inputs={"gate": gate.path})
    with pytest.raises(AirflowSkipException, match=r"Not promoted: accuracy at least 0\.97: 0\.9000"):
        package.execute(context())


def test_what_live_requests_could_not_judge_is_skipped_and_the_champion_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPDRAFT_SERVING_PORT", "1")
    settings.cache_clear()
    registry = Registry(settings().registry_url)
    registry.register("digits", "other", "digits/package/other/manifest.json", {"candidate": "other"})
    registry.move_alias("digits", "champion", 1, expected=None, who="test", why="test")
    report = {"candidate": {"accuracy": 0.9}, "champion": {"version": 1}}
    metrics: dict[str, dict[str, Any]] = {"train": {}, "evaluate": report, "gate": {"passed": True}, "card": {}}
    inputs = {name: standing(name, values).path for name, values in metrics.items()}
    package = stage("package", reproducible=False)(_write_signature)
    store = open_store(settings().store_uri)
    inputs["package"] = execute(package, load_project("digits"), {}, store=store, registry=registry).path
    deploy = StageOperator(task_id="deploy", step="deploy", project="digits", inputs=inputs)
    with pytest.raises(AirflowSkipException, match=r"Not promoted: digits: version 2(.|\n)*no endpoint is running"):
        deploy.execute(context(set={"deployment.canary": [0.1]}))
    assert registry.aliases("digits") == {"champion": 1}
    registry.close()


def _write_signature(ctx: Context) -> Outcome:
    text = json.dumps({"form": "plain", "lock": "f" * 64, "libraries": {}})
    (ctx.out / "signature.json").write_text(text, encoding="utf-8")
    return Outcome()


@pytest.mark.slow
def test_a_killed_training_task_ends_its_ranks(home: Path) -> None:
    spec = load_project("digits")
    tune = standing("tune", {"trials": [{"number": 0, "params": {}, "value": 0.5, "loss": 1.0, "state": "COMPLETE"}]})
    data = open_platform().data(spec, 240)
    inputs = {name: manifests[0].path for name, manifests in data.items()} | {"tune": tune.path}
    train = HorovodOperator(task_id="train", step="train", project="digits", inputs=inputs)

    class KillAtTheFirstEpoch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "epoch 1/" in record.getMessage():
                train.on_kill()

    with _listening(KillAtTheFirstEpoch()), pytest.raises(RankFailed, match="stopped"):
        train.execute(context(set={"training.epochs": 5000}))
    assert not list((home / "store" / "digits").glob("train/*/manifest.json"))


class _listening:
    """Has the platform's log heard by a handler for a while."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler, self._log = handler, logging.getLogger("updraft")

    def __enter__(self) -> None:
        self._level = self._log.level
        self._log.setLevel(logging.INFO)
        self._log.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        self._log.removeHandler(self._handler)
        self._log.setLevel(self._level)


def test_credentials_may_come_from_an_airflow_connection(
    ingest: StageOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "UPDRAFT_S3_ENDPOINT_URL")
    for name in names:
        monkeypatch.setenv(name, "")  # What the operator sets ends with the test, as with a task's process.
    connection = {
        "conn_type": "aws",
        "login": "key",
        "password": "secret",
        "extra": {"region_name": "eu-west-1", "endpoint_url": "http://127.0.0.1:1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_BUCKETS", json.dumps(connection))
    monkeypatch.setenv("UPDRAFT_S3_CONNECTION", "buckets")
    settings.cache_clear()
    ingest.execute(context())
    assert [os.environ[name] for name in names] == ["key", "secret", "eu-west-1", "http://127.0.0.1:1"]
