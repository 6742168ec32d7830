"""When things run: one file per kind of pipeline, a DAG per project in ``projects/``."""
