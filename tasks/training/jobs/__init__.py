"""Horovod jobs: processes started on this host or on others, watched, and ended together."""
