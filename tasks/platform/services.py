"""The platform on one machine, up and down: Airflow's four parts and the prediction endpoint, in the background.

`airflow standalone` would run the same parts, but leaves them behind when it is stopped, and starts log servers that
listen on every interface; nobody needs those where all processes share a disk.
"""

import contextlib
import importlib.metadata
import os
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

from tasks.core.artifacts import digest_bytes
from tasks.core.config import sound_projects
from tasks.core.errors import UpdraftError
from tasks.core.settings import ROOT, Settings
from tasks.platform import supervisor
from tasks.platform.airflow import Airflow
from tasks.platform.environment import admin_password, airflow_env, airflow_home, airflow_url, base_env, serving_url
from tasks.platform.process import Service
from tasks.platform.supervisor import Progress, Status


def up(settings: Settings, progress: Progress = lambda name, what: None, timeout: float = 180.0) -> list[Status]:
    """Start what is not running and return when all of it is healthy. Safe to repeat.

    Raises:
        BadInput: a port is taken, or the home cannot be written to; nothing was started.
        UpdraftError: a part ended at once or did not become healthy; what this call started was stopped again.
    """
    with supervisor.locked(settings.home):
        missing = supervisor.missing(platform(settings), settings.home)
        (airflow_home(settings) / "metrics").mkdir(parents=True, exist_ok=True)
        admin_password(settings)
        prepare_database(settings, progress)
        supervisor.start(missing, settings.home, progress, timeout)
        with Airflow(settings) as airflow:
            for name, (slots, description) in pools(settings).items():
                airflow.set_pool(name, slots, description)
    return status(settings)


def down(settings: Settings, progress: Progress = lambda name, what: None, grace: float = 10.0) -> list[str]:
    """Stop every part and every process it started. Returns the names of the parts that were stopped."""
    if not settings.home.is_dir():
        return []
    with supervisor.locked(settings.home):
        return supervisor.stop(platform(settings), settings.home, progress, grace)


def status(settings: Settings) -> list[Status]:
    """How each part is now. Asks every health address, changes nothing."""
    return supervisor.inspect(platform(settings), settings.home)


def platform(settings: Settings) -> list[Service]:
    """The parts of the platform: what to run, where it listens, how it says that it is well."""
    serving = Service(
        name="serving",
        command=_program(
            *("bentoml", "serve", "serving.service:Updraft"),
            *("--host", settings.host, "--port", str(settings.serving_port)),
        ),
        env=partial(base_env, settings),
        cwd=ROOT,
        host=settings.host,
        port=settings.serving_port,
        port_setting="UPDRAFT_SERVING_PORT",
        health=f"{serving_url(settings)}/readyz",
    )
    return [
        _airflow(settings, "api-server", port=settings.airflow_port),
        _airflow(settings, "dag-processor", component="dag_processor"),
        _airflow(settings, "triggerer", "--skip-serve-logs", component="triggerer"),
        _airflow(settings, "scheduler", "--skip-serve-logs", component="scheduler"),
        serving,
    ]


def pools(settings: Settings) -> dict[str, tuple[int, str]]:
    """The Airflow pools that the DAGs use, with their slots and what they are for."""
    # At least as many as the largest job has ranks: with fewer it would stay queued for ever.
    here = sum(settings.slots.values()) or os.cpu_count() or 1
    slots = max([here, *(spec.training.ranks for spec in sound_projects())])
    return {
        "horovod_slots": (
            slots,
            "One per core, or as UPDRAFT_HOSTS says: a trial takes one, a training job one for each rank.",
        ),
        "feast_writer": (1, "Feast's registry has one writer at a time: a racing write would lose objects silently."),
    }


def prepare_database(settings: Settings, progress: Progress) -> None:
    """Create Airflow's database, or bring it to the installed version.

    Raises:
        UpdraftError: Airflow could not; with its last output.
    """
    version, marker = importlib.metadata.version("apache-airflow"), airflow_home(settings) / "database-version"
    prepared = f"{version} {digest_bytes(settings.airflow_database_url.get_secret_value().encode())[:12]}"
    if marker.exists() and marker.read_text() == prepared:
        return
    progress("airflow-database", f"preparing for Airflow {version}")
    done = subprocess.run(
        _program("airflow", "db", "migrate"),
        env=airflow_env(settings),
        cwd=settings.home,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UpdraftError(
            f"Airflow could not prepare its database:\n{(done.stdout + done.stderr)[-2000:]}",
            f"if nothing in it is needed, delete {airflow_home(settings)} (or empty that database), and start again",
        )
    if not settings.airflow_database_url.get_secret_value():
        with contextlib.closing(sqlite3.connect(airflow_home(settings) / "airflow.db")) as database:
            # Kept in the file: with a write-ahead log, readers and the writer do not wait for each other.
            database.execute("PRAGMA journal_mode=WAL")
    marker.write_text(prepared)


def _airflow(settings: Settings, command: str, *options: str, component: str = "", port: int | None = None) -> Service:
    # The API that tasks use is built when it is first asked, in 6 s: better now than at the first task.
    health = "/api/v2/monitor/health" if component else "/execution/health"
    return Service(
        name=f"airflow-{command}",
        command=_program("airflow", command, *options),
        env=partial(airflow_env, settings),
        cwd=settings.home,
        host=settings.host,
        port=port,
        port_setting="UPDRAFT_AIRFLOW_PORT" if port else "",
        health=airflow_url(settings) + health,
        component=component,
        stops_last=port is not None,
    )


def _program(name: str, *arguments: str) -> tuple[str, ...]:
    """The command line of a program of this environment, whatever PATH says."""
    return (str(Path(sys.executable).parent / name), *arguments)
