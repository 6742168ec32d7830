"""How Airflow runs Updraft: executor and operators."""
