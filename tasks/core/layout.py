"""What stands where in the vector of transformed features: a family may treat numbers, categories and words apart."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

FILE = "transform.json"


@dataclass(frozen=True)
class Slice:
    """Neighbouring dimensions that belong together.

    Attributes:
        name: the feature group, or its column.
        kind: ``number``: values; ``category``: one value, one-hot; ``tokens``: places in a vocabulary, in the order of
            the text, 0 where it has ended.
        start: first dimension.
        stop: the one after the last.
        size: of the vocabulary, 0 included (tokens); else 0.
    """

    name: str
    kind: Literal["number", "category", "tokens"]
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
    def plain(cls, width: int) -> Self:
        """``width`` numbers."""
        return cls((Slice("features", "number", 0, width),))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The layout of the transform stage's artifact."""
        described = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(tuple(Slice(**entry) for entry in described["slices"]))

    def as_json(self) -> list[dict[str, Any]]:
        """What ``slices`` holds in ``transform.json``."""
        return [asdict(each) for each in self.slices]
