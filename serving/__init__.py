"""The prediction endpoint: a light BentoML service over packaged models; no TensorFlow, no Airflow."""
