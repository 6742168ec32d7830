"""What a split's rows can be told apart by: the source's columns, dimensions of features, the label."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.shards import Split
from tasks.core.spec import CnnEmbedding, Column, Crossed, DateParts, ImageStats, Project, TextStats
from tasks.runtime.extractors import names
from tasks.runtime.instances import typed
from tasks.runtime.table_features import JOINT

LABEL = "label"

_BLOCK = 10_000
_LEGIBLE = (ImageStats, DateParts, TextStats, Crossed)
"""Features whose dimensions say something to a person, and that no column of the source says already."""


@dataclass(frozen=True)
class Values:
    """One column, or one dimension of a feature, of every row of a split.

    Attributes:
        name: the column's, ``<feature>.<dimension>``, or ``label``.
        numbers: float64 (N,), NaN where missing; None of texts.
        texts: object (N,), None where missing; None of numbers.
        is_time: whether the numbers are times, in seconds since 1970.
    """

    name: str
    numbers: np.ndarray | None = None
    texts: np.ndarray | None = None
    is_time: bool = False


def known(spec: Project) -> tuple[str, ...]:
    """Every name that `find` takes."""
    return (LABEL, *(column.name for column in _columns(spec)), *_dimensions(spec))


def find(spec: Project, split: Split, name: str) -> Values:
    """The column of that name, one of `known`."""
    if name == LABEL:
        return _label(spec, split)
    for column in _columns(spec):
        if column.name == name:
            return next(_read(split, [column]))
    group, place = _dimensions(spec)[name]
    return _values(name, split.features[group][:, place])


def telling(spec: Project, split: Split) -> Iterator[Values]:
    """The columns that slices are looked for in: the label, the source's but no texts, and legible features."""
    yield _label(spec, split)
    yield from _read(split, [column for column in _columns(spec) if column.type != "text"])
    legible = {feature.group for feature in spec.features if isinstance(feature, _LEGIBLE)}
    for name, (group, place) in _dimensions(spec).items():
        if group in legible:
            yield _values(name, split.features[group][:, place])


def _columns(spec: Project) -> Sequence[Column]:
    """Those whose values a split has: of an image, none."""
    return () if spec.image else spec.source.columns


def _dimensions(spec: Project) -> dict[str, tuple[str, int]]:
    """Full name to feature group and place; an embedding's dimensions stand for nothing that has a name."""
    named = names([feature for feature in spec.features if not isinstance(feature, CnnEmbedding)], spec.image)
    return {f"{group}.{name}": (group, place) for group, found in named.items() for place, name in enumerate(found)}


def _label(spec: Project, split: Split) -> Values:
    if spec.is_regression:
        return Values(LABEL, numbers=split.labels.astype(np.float64))
    return Values(LABEL, texts=np.array(spec.classes, object)[split.labels])


def _values(name: str, values: np.ndarray) -> Values:
    if values.dtype != object:
        return Values(name, numbers=values.astype(np.float64))
    return Values(name, texts=np.array([value.replace(JOINT, ", ") if value else None for value in values], object))


def _read(split: Split, columns: Sequence[Column]) -> Iterator[Values]:
    """The source's columns, as the row's JSON has them."""
    if split.rows is None:
        return
    parts: dict[str, list[pa.Array]] = {column.name: [] for column in columns}
    for start in range(0, len(split), _BLOCK):
        rows = [json.loads(row) for row in split.rows[start : start + _BLOCK]]
        for name, values in typed(rows, columns).items():
            parts[name].append(values)
    for column in columns:
        values, is_time = pa.chunked_array(parts[column.name]), column.type == "time"
        if is_time or column.type == "number":
            numbers = pc.divide(values.cast(pa.int64()).cast(pa.float64()), 1e6) if is_time else values
            yield Values(column.name, numbers=np.asarray(pc.fill_null(numbers, np.nan)), is_time=is_time)
        else:
            yield Values(column.name, texts=np.array(values.cast(pa.string()).to_pylist(), object))
