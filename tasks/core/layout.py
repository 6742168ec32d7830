"""What stands where in the vector of transformed features: a family may treat numbers, categories and words apart."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

FILE = "transform.json"

Kind = Literal["number", "category", "tokens"]


@dataclass(frozen=True)
class Slice:
    """Neighbouring dimensions that belong together.

    Attributes:
        name: the feature group, or ``group.column`` where its columns stand apart.
        kind: ``number``: values; ``category``: one value, one-hot; ``tokens``: places in a vocabulary, in the order of
            the text, 0 where it has ended.
        start: first dimension.
        stop: the one after the last.
        size: of the vocabulary, 0 included (tokens); else 0.
    """

    name: str
    kind: Kind
    start: int
    stop: int
    size: int = 0

    @property
    def width(self) -> int:
        """How many dimensions."""
        return self.stop - self.start


@dataclass(frozen=True)
class Layout:
    """The whole vector, float32 (D,), slice by slice."""

    slices: tuple[Slice, ...]

    @property
    def width(self) -> int:
        """D."""
        return self.slices[-1].stop if self.slices else 0

    @classmethod
    def one(cls, kind: Kind, width: int, size: int = 0) -> Self:
        """A single slice, without a name as yet."""
        return cls((Slice("", kind, 0, width, size),))

    @classmethod
    def beside(cls, layouts: Mapping[str, "Layout"]) -> Self:
        """One layout after the other; their names go before those of their slices."""
        slices: list[Slice] = []
        for name, layout in layouts.items():
            begin = slices[-1].stop if slices else 0
            for each in layout.slices:
                full = f"{name}.{each.name}" if each.name else name
                slices.append(replace(each, name=full, start=begin + each.start, stop=begin + each.stop))
        return cls(tuple(slices))

    @classmethod
    def plain(cls, width: int) -> Self:
        """``width`` numbers."""
        return cls.beside({"features": cls.one("number", width)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The layout of the transform stage's artifact."""
        return cls.of_json(json.loads((folder / FILE).read_text(encoding="utf-8"))["slices"])

    @classmethod
    def of_json(cls, slices: list[dict[str, Any]]) -> Self:
        """See `as_json`."""
        return cls(tuple(Slice(**entry) for entry in slices))

    def as_json(self) -> list[dict[str, Any]]:
        """What ``slices`` holds in ``transform.json``."""
        return [asdict(each) for each in self.slices]

    def of(self, *kinds: Kind) -> tuple[Slice, ...]:
        """The slices of these kinds, in order."""
        return tuple(each for each in self.slices if each.kind in kinds)


def counts(layout: Layout, features: np.ndarray, most: int = 1000) -> np.ndarray:
    """Features that a linear model can use: of a text, how often each word stands in it, not which word stands where.

    Args:
        features: float32 (N, D).
        most: words of a text that are counted, the most frequent ones; unknown words are the first.

    Returns:
        float32 (N, E); ``features`` itself where no slice is of tokens.
    """
    if not layout.of("tokens"):
        return features
    parts = [(each, features[:, each.start : each.stop]) for each in layout.slices]
    return np.concatenate([_counted(v, min(each.size, most + 1)) if each.size else v for each, v in parts], axis=1)


def _counted(places: np.ndarray, size: int) -> np.ndarray:
    """How often each place from 1 to ``size`` - 1 stands in each row."""
    rows = np.arange(len(places))[:, None] * size
    flat = (rows + places.astype(np.int64))[places < size]
    return np.bincount(flat, minlength=len(places) * size).reshape(-1, size)[:, 1:].astype(np.float32)
