"""How long Airflow needs to parse the DAG folder: it does so again and again, so it must be cheap."""

import subprocess
import sys

from benchmarks.figures import Figure
from tasks.core.settings import ROOT

CODE = """
import time
from airflow.dag_processing.dagbag import DagBag
started = time.perf_counter()
bag = DagBag("dags", bundle_name="bench")
print(time.perf_counter() - started, len(bag.dags))
"""


def measure() -> list[Figure]:
    """Parses the folder in a fresh process, five times; the median counts."""
    seconds, dags = zip(*(_parse() for _ in range(5)), strict=True)
    return [Figure(f"parse the DAG folder ({dags[0]} DAGs)", sorted(seconds)[2], "s", "<= 1", "airflow imported")]


def _parse() -> tuple[float, int]:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, dags = done.stdout.splitlines()[-1].split()
    return float(seconds), int(dags)
