"""``<project>_monitor``: watches the live endpoint."""

from airflow.sdk import DAG

from plugins.chains import add_steps, dag_arguments
from tasks.core.config import sound_projects
from tasks.core.pipeline import MONITOR

DOC = """\
Compares the features of the endpoint's logged requests with the training baseline of the champion (population stability
index per feature) and reports those that drifted. It never blocks the endpoint: it reads the request log."""

for spec in sound_projects():
    with DAG(
        **dag_arguments(spec, "monitor", DOC),
        catchup=False,
        max_active_runs=1,
    ) as dag:
        # The last whole hour: the present one has just begun when a scheduled run starts.
        add_steps(
            MONITOR, spec, partition="{{ (dag_run.run_after - macros.timedelta(hours=1)).strftime('%Y-%m-%dT%H') }}"
        )
    globals()[dag.dag_id] = dag
