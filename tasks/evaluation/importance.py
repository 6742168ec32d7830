"""What the model would lose without a column: permutation importance (Breiman, "Random forests", 2001)."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from tasks.core.shards import Split, evenly
from tasks.core.spec import TableFeature
from tasks.runtime.instances import typed
from tasks.runtime.predictor import Inputs, Predictor
from tasks.runtime.table_features import extract_table

REPEATS = 5
"""Permutations of each column."""

PREDICTIONS = 50_000
"""Rows that are predicted in all, about: with many columns, fewer rows are looked at."""

FEWEST = 20
"""Rows that are looked at, at least."""

_SEED = 20011001

Loss = Callable[[np.ndarray, np.ndarray], float]
"""Of true labels (N,) and predictions (N, classes) or (N, 1): lower is better."""

Deal = Callable[[np.ndarray], Inputs]
"""An order of the rows to what the model takes when one part of them is dealt out in it."""


class Importance(NamedTuple):
    """By how much the loss grows when the values of ``name`` are dealt out anew.

    Attributes:
        increase: the mean over the permutations.
        low: the smallest of them.
        high: the largest.
    """

    name: str
    increase: float
    low: float
    high: float


def permutation_importance(predictor: Predictor, split: Split, rows: np.ndarray, loss: Loss) -> list[Importance]:
    """The importance of each column that a feature is made from, or of an image's feature groups and its pixels.

    Args:
        rows: numbers of the split's rows to look at; of very many columns, evenly spaced ones of them.

    Returns:
        The most important first.
    """
    count = 1 + len(split.features) if split.images is not None else len(_columns(predictor))
    kept = rows[evenly(len(rows), max(FEWEST, PREDICTIONS // (count * REPEATS)))]
    labels, random = split.labels[kept], np.random.default_rng(_SEED)
    inputs, parts = (_image_parts if split.images is not None else _table_parts)(predictor, split, kept)
    whole, orders = loss(labels, predictor.predict(inputs)), [random.permutation(len(kept)) for _ in range(REPEATS)]
    found = []
    for name, deal in parts.items():
        increases = np.array([loss(labels, predictor.predict(deal(order))) for order in orders]) - whole
        spread = (increases.mean(), increases.min(), increases.max())
        found.append(Importance(name, *(round(float(value), 6) for value in spread)))
    return sorted(found, key=lambda each: -each.increase)


def _image_parts(predictor: Predictor, split: Split, rows: np.ndarray) -> tuple[Inputs, dict[str, Deal]]:
    assert split.images is not None
    inputs = predictor.prepare_pixels(split.images[rows])
    pixels = inputs.pixels
    assert pixels is not None

    def deal_group(group: str, order: np.ndarray) -> Inputs:
        return replace(inputs, features={**inputs.features, group: inputs.features[group][order]})

    groups: dict[str, Deal] = {group: partial(deal_group, group) for group in inputs.features}
    return inputs, {"pixels": lambda order: replace(inputs, pixels=pixels[order]), **groups}


def _table_parts(predictor: Predictor, split: Split, rows: np.ndarray) -> tuple[Inputs, dict[str, Deal]]:
    assert split.rows is not None
    signature = predictor.signature
    columns = typed([json.loads(split.rows[row]) for row in rows], signature.columns)

    def deal_column(name: str, order: np.ndarray) -> Inputs:
        return Inputs(None, extract_table(columns | {name: columns[name].take(order)}, signature.features))

    inputs = Inputs(None, extract_table(columns, signature.features))
    return inputs, {name: partial(deal_column, name) for name in _columns(predictor)}


def _columns(predictor: Predictor) -> list[str]:
    features = predictor.signature.features
    return sorted({name for feature in features if isinstance(feature, TableFeature) for name in feature.columns})
