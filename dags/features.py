"""``<project>_features``: one partition of raw data becomes features, offline and online. Daily, backfillable."""

from airflow.sdk import DAG

from plugins.chains import add_steps, dag_arguments, midnight
from tasks.core.config import sound_projects
from tasks.core.pipeline import FEATURES

DOC = """\
Ingests one day's drop, checks it (bad rows go to quarantine with their reasons), computes features, and puts them into
Feast. Backfill any range of dates: a date that is unchanged is a HIT and costs nothing."""


for spec in sound_projects():
    with DAG(
        **dag_arguments(spec, "features", DOC),
        end_date=spec.end and midnight(spec.end),
        catchup=True,
        max_active_runs=4,
    ) as dag:
        add_steps(FEATURES, spec, partition="{{ data_interval_start | ds }}")
    globals()[dag.dag_id] = dag
