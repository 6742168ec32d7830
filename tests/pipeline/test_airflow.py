"""``make run`` from `updraft demo` on: the same pipeline through a real Airflow, to a real endpoint."""

import re
from typing import Any

import httpx
import pytest

from tests.pipeline.conftest import Installation

pytestmark = pytest.mark.slow

Platform = tuple[Installation, str]


def test_airflow_and_one_process_make_the_same_artifacts(local: Installation, platform: Platform) -> None:
    here, there = local.manifests(), platform[0].manifests()
    assert here.keys() == {name for name in there if name[0] != "drift"}  # the monitor runs in Airflow alone
    for name, manifest in here.items():
        told = {"seconds", "created_at", "outputs", "because", "metrics"}
        assert {k: v for k, v in manifest.items() if k not in told} == {
            k: v for k, v in there[name].items() if k not in told
        }
    for stage in ("ingest", "validate", "features", "materialize", "dataset"):
        for name in (name for name in here if name[0] == stage):
            assert here[name]["outputs"] == there[name]["outputs"], name


def test_training_is_the_same_to_the_bit(local: Installation, platform: Platform) -> None:
    here, there = local.manifests(), platform[0].manifests()
    assert here["train", None]["metrics"]["weights_digest"] == there["train", None]["metrics"]["weights_digest"]
    for name in (name for name in here if name[0] in ("tune", "evaluate", "gate")):
        assert without_footprint(here[name]["metrics"]) == without_footprint(there[name]["metrics"]), name
    assert len(here["tune", "worker-00"]["metrics"]["trials"]) == 6


def without_footprint(value: Any) -> Any:
    """What an evaluation measured but for latency and memory, which no two runs share."""
    if isinstance(value, dict):
        return {name: without_footprint(inner) for name, inner in value.items() if name != "footprint"}
    return [without_footprint(inner) for inner in value] if isinstance(value, list) else value


def test_the_summary_tells_what_a_newcomer_needs(platform: Platform) -> None:
    _, printed = platform
    for wanted in (
        "Airflow:",
        "password",
        "Endpoint:",
        "curl",
        "quarantined",
        "Champion: version 1",
        "HIT",
        "accuracy",
    ):
        assert wanted in printed, wanted
    assert re.search(r"(\d+) of (\d+) right", printed)


def test_the_printed_curl_line_works(platform: Platform) -> None:
    import json
    import shlex
    import subprocess

    (line,) = re.findall(r"^Try it: +(curl .*)$", platform[1], re.MULTILINE)
    answer = json.loads(subprocess.run(shlex.split(line), capture_output=True, text=True, check=True).stdout)
    assert answer["project"] == "digits"
    assert answer["predictions"][0]["label"] in "0123456789"


def test_the_endpoint_serves_the_champion(platform: Platform) -> None:
    installation, _ = platform
    port = installation.env["UPDRAFT_SERVING_PORT"]
    assert httpx.get(f"http://127.0.0.1:{port}/v1/digits").json()["version"] == 1


def test_running_again_runs_nothing_twice(platform: Platform) -> None:
    installation, _ = platform
    before = installation.manifests()
    again = installation.updraft("demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "MISS:" not in again.stdout
    assert installation.manifests() == before


def test_the_monitor_runs(platform: Platform) -> None:
    from tasks.core.settings import Settings
    from tasks.platform.airflow import Airflow

    installation, _ = platform
    with Airflow(Settings(**installation.settings())) as airflow:  # type: ignore[arg-type]
        run = airflow.trigger("digits_monitor")
        airflow.wait("digits_monitor", [run])
        assert airflow.xcom("digits_monitor", run, "drift").endswith("manifest.json")


def test_the_tabs_of_a_dag_answer_those_who_may_see_it_alone(platform: Platform) -> None:
    from tasks.core.settings import Settings
    from tasks.platform.airflow_api import AirflowApi

    installation, _ = platform
    api = AirflowApi(Settings(**installation.settings()))  # type: ignore[arg-type]
    try:
        api.call("GET", "/dags")  # logs in
        token = api._http.headers["Authorization"]
    finally:
        api.close()
    for page, shown in (
        ("training", "Optimization history"),
        ("data", "truncated_image"),
        ("model", "passed its gates"),
        ("model/champion", "passed its gates"),
    ):
        url = f"{api.url}/updraft/digits_train/{page}"
        assert httpx.get(url).status_code == 401
        answer = httpx.get(url, headers={"Authorization": token})
        assert answer.status_code == 200
        assert shown in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
