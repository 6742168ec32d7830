"""Judgement: metrics, gates."""
