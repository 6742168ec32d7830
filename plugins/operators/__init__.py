"""Operators: how an Airflow task executes a stage."""
