"""Backfills through a real Airflow: our command, Airflow's own, on SQLite and on PostgreSQL."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tasks.core.settings import Settings
from tasks.platform.airflow import Airflow
from tasks.platform.environment import airflow_env
from tests.pipeline.conftest import Installation, install
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.slow

FIRST, LAST = date(2026, 1, 2), date(2026, 1, 4)


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Installation]:
    """A platform whose Airflow and registry keep their books in PostgreSQL, up, with nothing done yet."""
    env = {
        "UPDRAFT_AIRFLOW_DATABASE_URL": postgres.database(),
        "UPDRAFT_DATABASE_URL": postgres.database(),
    }
    made = install(tmp_path_factory.mktemp("on_postgres"), **env)
    try:
        done = made.updraft("up")
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        made.updraft("down")


@pytest.fixture(params=["sqlite", "postgres"])
def installation(request: pytest.FixtureRequest) -> Installation:
    if request.param == "sqlite":
        return request.getfixturevalue("platform")[0]
    return request.getfixturevalue("on_postgres")


def test_a_range_of_dates_by_our_command(local: Installation, installation: Installation) -> None:
    planned = installation.updraft("backfill", "digits", "--from", str(FIRST), "--to", str(LAST), "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert len(planned.stdout.splitlines()) == 3
    done = installation.updraft("backfill", "digits", "--from", str(FIRST), "--to", str(LAST))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("materialize: success") == 3
    here, there = local.manifests(), installation.manifests()
    for name in (name for name in here if name[1] and str(FIRST) <= name[1] <= str(LAST)):
        assert there[name]["outputs"] == here[name]["outputs"], name
    planned = installation.updraft("backfill", "digits", "--from", str(FIRST), "--to", str(LAST), "--dry-run")
    assert planned.stdout.count("nothing to do") == 3


def test_a_range_of_dates_by_airflows_command(installation: Installation) -> None:
    settings = _settings(installation)
    airflow = str(Path(sys.executable).parent / "airflow")
    dates = ["--from-date", str(FIRST), "--to-date", str(LAST), "--reprocess-behavior", "completed"]
    command = [airflow, "backfill", "create", "--dag-id", "digits_features", *dates]
    done = subprocess.run(command, env=airflow_env(settings), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    with Airflow(settings) as api:
        runs = [run.id for run in api.runs("digits_features", FIRST, LAST)]
        assert len(runs) == 3
        api.wait("digits_features", runs)


def test_a_date_that_the_source_does_not_hold_is_named(installation: Installation) -> None:
    done = installation.updraft("backfill", "digits", "--from", "2031-01-01")
    assert done.returncode == 2
    assert "2031-01-01" in done.stderr
    assert "2026-01-01 to 2026-01-08" in done.stderr


def _settings(installation: Installation) -> Settings:
    own = {k: v for k, v in installation.env.items() if k.startswith("UPDRAFT_")}
    return Settings(**{name.removeprefix("UPDRAFT_").lower(): value for name, value in own.items()})  # type: ignore[arg-type]
