"""What a stage does: plain Python, importable and testable without Airflow."""
