"""The labels that there are: which are classes, and which are mistakes; or that they are a quantity."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, ClassVar

import numpy as np

from tasks.core.errors import BadInput
from tasks.data.infer import sizes
from tasks.data.infer.columns import Profile, profile
from tasks.data.infer.sample import VALUES, Sample
from tasks.runtime.rows import parse

FEW = 100
"""Rows below which no figure means much."""

_MANY = 100
"""More different numbers than this are only taken for classes if each comes often."""

_FEW = 10
"""Classes that may be as rare as they are; of more, each is to come three times."""


@dataclass(frozen=True)
class Classes:
    """The classes in order, with their rows, and the labels that are none.

    Attributes:
        counts: class to rows.
        strays: labels so rare beside the others that they are taken for mistakes, with their rows.
    """

    counts: Mapping[str, int]
    strays: Mapping[str, int]
    kind = "classification"
    profiles: ClassVar[tuple[Profile, ...]] = ()
    easy = "knowing only how frequent each class is"

    @property
    def rows(self) -> int:
        """How many rows are of a class."""
        return sum(self.counts.values())

    def described(self) -> str:
        """Classes with their rows, the largest first."""
        largest = sorted(self.counts.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {count:,}" for name, count in largest[:10])
        return f"{shown} and {len(largest) - 10} more" if len(largest) > 10 else shown

    def bad(self, values: Sequence[Any]) -> np.ndarray:
        """Mask of the labels that are no class."""
        return np.array([label not in self.counts for label in parse(values, "category")[0].to_pylist()], bool)

    def classes(self) -> list[str]:
        """The spec's section."""
        return list(self.counts)

    def sampling(self) -> dict[str, Any]:
        """The spec's section; empty: the default."""
        return sizes.sampling(self.counts)

    def gates(self) -> list[dict[str, Any]]:
        """The spec's section."""
        return sizes.gates(self.counts)

    def notes(self) -> list[str]:
        """What the person should know."""
        notes, least = [], min(self.counts.values())
        if self.strays:
            labels = ", ".join(f"{label!r} ({count})" for label, count in self.strays.items())
            notes.append(f"too rare to be classes, rows with them will be quarantined: {labels}")
        if self.rows < FEW or least < 10:
            notes.append(f"{self.rows:,} rows, {least} of the rarest class: too few for figures that mean much")
        return notes


@dataclass(frozen=True)
class Quantity:
    """Labels that are numbers; what it answers is what `Classes` does.

    Attributes:
        rows: how many there are, about.
        labels: those of the kept rows, under the name by which rules speak of them.
    """

    rows: int
    labels: Profile
    kind = "regression"
    easy = "always saying the mean"

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """See `Classes`."""
        return (self.labels,)

    def described(self) -> str:
        """Where the numbers lie."""
        values = self.labels.present.to_numpy()
        return f"{values.min():g} to {values.max():g}, {values.mean():g} on average"

    def bad(self, values: Sequence[Any]) -> np.ndarray:
        """See `Classes`."""
        return parse(values, "number")[0].is_null().to_numpy(zero_copy_only=False)

    def classes(self) -> list[str]:
        """See `Classes`."""
        return []

    def sampling(self) -> dict[str, Any]:
        """See `Classes`."""
        return {}

    def gates(self) -> list[dict[str, Any]]:
        """See `Classes`."""
        return sizes.number_gates()

    def notes(self) -> list[str]:
        """See `Classes`."""
        return [f"{self.rows:,} rows: too few for figures that mean much"] if self.rows < FEW else []


Target = Classes | Quantity
"""What is learned."""


def find_target(sample: Sample, label: str) -> Target:
    """What is learned: classes, or a quantity where the label's values are numbers of many kinds.

    Raises:
        BadInput: the column holds names or texts, or a single class.
    """
    found = profile(label, sample.column(label))
    values = found.present.to_pylist() if found.type == "number" else []
    broken = any(value != int(value) for value in values)
    if values and found.distinct > 20 and (broken or found.distinct > max(_MANY, len(values) / 10)):
        return Quantity(sample.read - sample.unreadable, replace(found, name="label"))
    return find_classes(label_counts(sample, label), f"The label {label!r}")


def find_classes(counts: Mapping[str, int], where: str) -> Classes:
    """Sorts labels out.

    Args:
        counts: label to rows.
        where: what holds the labels, for messages.

    Raises:
        BadInput: there are fewer than two.
    """
    usual = median(counts.values()) if counts else 0
    strays = {label: count for label, count in counts.items() if count < 10 and count * 20 < usual}
    kept = {label: count for label, count in counts.items() if label not in strays}
    if len(kept) < 2:
        seen = ", ".join(f"{label!r}" for label in kept) or "none"
        raise BadInput(
            f"{where} has {len(kept)} class ({seen}); two are needed.", "Choose another with --label COLUMN."
        )
    return Classes({label: kept[label] for label in sorted(kept, key=_order)}, strays)


def label_counts(sample: Sample, label: str) -> Counter[str]:
    """How often each label occurs.

    Raises:
        BadInput: the column holds names or texts.
    """
    counts = sample.counts(label)
    if counts is None or len(counts) > max(_FEW, sample.read / 3):
        many = f"over {VALUES}" if counts is None else str(len(counts))
        message = f"The label {label!r} has {many} different values in {sample.read:,} rows: these are no classes."
        raise BadInput(message, "Choose a column with few values: --label COLUMN.")
    return counts


def _order(label: str) -> tuple[int, float, str]:
    """Numbers by value, then words."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0, label
