"""The whole digits pipeline, run twice from nothing for all tests here: in one process, and through a real Airflow."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.core.settings import ROOT

UPDRAFT = str(Path(sys.executable).parent / "updraft")


@dataclass(frozen=True)
class Installation:
    """A home of its own, and the command line in it."""

    home: Path
    env: dict[str, str]

    def updraft(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as a user would; never raises."""
        command = [UPDRAFT, *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=900)

    def settings(self) -> dict[str, str]:
        """What `tasks.core.settings.Settings` is made of in it."""
        return {k.removeprefix("UPDRAFT_").lower(): v for k, v in self.env.items() if k.startswith("UPDRAFT_")}

    def manifests(self, project: str = "digits") -> dict[tuple[str, str | None], dict[str, Any]]:
        """Every published manifest, by stage and partition."""
        found = [json.loads(path.read_text()) for path in (self.home / "store" / project).glob("*/*/manifest.json")]
        return {(m["stage"], m["partition"]): m for m in found}


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A home in which ``updraft run digits`` ran once."""
    made = install(tmp_path_factory.mktemp("local"))
    done = made.updraft("run", "digits")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str]]:
    """A platform on which ``updraft demo`` ran once, still up; and what it printed."""
    made = install(tmp_path_factory.mktemp("platform"))
    try:
        done = made.updraft("demo")
        assert done.returncode == 0, done.stdout + done.stderr
        yield made, done.stdout
    finally:
        made.updraft("down")


def install(folder: Path, **env: str) -> Installation:
    """An installation with nothing in it, on ports of its own.

    Args:
        env: more variables of its environment.
    """
    ports = {f"UPDRAFT_{name}_PORT": str(_free_port()) for name in ("AIRFLOW", "SERVING")}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UPDRAFT_", "AIRFLOW"))}
    return Installation(folder / "home", {**clean, **ports, **env, "UPDRAFT_HOME": str(folder / "home")})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
