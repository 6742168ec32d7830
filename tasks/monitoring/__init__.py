"""Watching the live endpoint: drift of its requests against the training baseline."""
