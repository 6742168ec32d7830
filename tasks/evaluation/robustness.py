"""Robustness: rows of a split, disturbed; whoever is measured sees the same ones, so that differences are paired."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tasks.core.shards import Split
from tasks.core.spec import Project
from tasks.evaluation.corruptions import corrupt
from tasks.evaluation.shifts import shift

ATTACKS = ("fgsm", "pgd")
"""The tests that follow the gradient of a model."""

Attack = Callable[[str, np.ndarray], np.ndarray]
"""The name of one of `ATTACKS` and numbers of rows to their pixels, uint8 (N, H, W, C), changed to mislead a model."""

Disturbed = np.ndarray | list[dict[str, Any]]
"""Pixels, uint8 (N, H, W, C), or rows of a table, column to value."""


def disturbed(
    spec: Project, test: Split, rows: np.ndarray, attack: Attack | None = None
) -> Iterator[tuple[str, Disturbed]]:
    """The spec's robustness tests, each with the rows as it disturbs them, one test after the other.

    Args:
        test: the held-out split.
        rows: numbers of its rows.
        attack: makes the tests of `ATTACKS`; without it they are passed over.
    """
    for name in spec.tests:
        if name in ATTACKS:
            if attack:
                yield name, attack(name, rows)
        elif test.images is not None:
            yield name, corrupt(name, test.images[rows])
        else:
            assert test.rows is not None
            yield name, shift(name, [json.loads(test.rows[row]) for row in rows], spec.source.columns)
