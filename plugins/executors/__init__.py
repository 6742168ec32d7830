"""How Airflow runs tasks on one machine."""
