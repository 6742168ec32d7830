"""Feast declarations, generated from the project specs."""
