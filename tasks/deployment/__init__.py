"""Promotion of the version that earned it."""
