"""The platform on one machine: its processes, Airflow's API, the first run, the doctor."""
