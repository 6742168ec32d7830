"""Measurements, as ratios side by side in one run where there is something to compare with.

``make bench`` runs every area, ``make bench ONLY=pipeline`` one. An area is a module here with a ``measure()``.
"""
