"""The warm executor imports ahead, and only when it is told to."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.settings import Settings
from tasks.platform.environment import airflow_env

FORK = """
import os, sys
from plugins.executors.warm_executor import WarmLocalExecutor
executor = WarmLocalExecutor(parallelism=1)
executor.modules = ("no_such_library", "heavy_library")
executor.start()
executor.end()
child = os.fork()
if child == 0:
    os._exit(0 if "heavy_library" in sys.modules else 9)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

IMPORTS = """
import os, sys
from plugins.executors.warm_executor import WARM_MODULES, warm
missing = warm(WARM_MODULES)
threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
import tensorflow as tf
from tensorflow.python.eager import context
print(threads, sorted(missing), context.context()._initialized)
"""


def run(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` in a Python of its own, in the environment that the platform gives Airflow."""
    env = airflow_env(Settings(home=home, warm=True)) | environment
    (home / "airflow" / "metrics").mkdir()
    (home / "heavy_library.py").touch()
    env["PYTHONPATH"] += f":{home}"
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_a_forked_task_inherits_what_was_imported_and_a_missing_library_is_only_said(tmp_path: Path) -> None:
    done = run(FORK, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no_such_library" in done.stdout + done.stderr


def test_the_setting_turns_it_off(tmp_path: Path) -> None:
    assert run(FORK, tmp_path, UPDRAFT_WARM="0").returncode == 9


@pytest.mark.slow
def test_importing_the_libraries_starts_no_thread_and_runs_nothing(tmp_path: Path) -> None:
    """``pytest`` shows the time: about 15 s on one core."""
    done = run(IMPORTS, tmp_path)
    assert done.stdout.splitlines()[-1] == "1 [] False", done.stdout + done.stderr
