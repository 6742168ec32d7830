"""The shipped projects beside digits: tables and texts, in one process and through Airflow to the endpoint."""

import json
import re

import pytest

from tests.pipeline.conftest import Installation

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("project", ["tumours", "docstrings", "diabetes"])]

LEAST = {"tumours": ("accuracy", 0.8), "docstrings": ("accuracy", 0.8), "diabetes": ("r2", 0.4)}


def test_it_runs_in_one_process_and_is_promoted(local: Installation, project: str) -> None:
    done = local.updraft("run", project)
    assert done.returncode == 0, done.stdout + done.stderr
    manifests = local.manifests(project)
    report = manifests["evaluate", None]["metrics"]
    measure, least = LEAST[project]
    assert report["candidate"][measure] >= least
    rows = [m["rows"] for (stage, _), m in manifests.items() if stage == "validate"]
    assert sum(r["in"] for r in rows) == sum(r["published"] + r["quarantined"] for r in rows)
    assert sum(r["quarantined"] for r in rows) > 0
    again = json.loads(local.updraft("run", project, "--json").stdout)
    assert {m["cache"] for m in again} == {"HIT"}


def test_airflow_makes_the_same_and_the_endpoint_answers(
    local: Installation, platform: tuple[Installation, str], project: str
) -> None:
    installation, _ = platform
    done = installation.updraft("demo", project)
    assert done.returncode == 0, done.stdout + done.stderr
    if project == "diabetes":
        (off,) = re.findall(r"off by ([\d.]+) on average", done.stdout)
        assert float(off) < 50
    else:
        right, asked = map(int, re.findall(r"(\d+) of (\d+) right", done.stdout)[0])
        assert right / asked >= 0.8
    here, there = local.manifests(project), installation.manifests(project)
    assert {name: m["key"] for name, m in here.items()} == {name: there[name]["key"] for name in here}
    assert here["train", None]["metrics"]["weights_digest"] == there["train", None]["metrics"]["weights_digest"]
