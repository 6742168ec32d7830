"""The labels that there are: which are classes, and which are mistakes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from tasks.core.errors import BadInput
from tasks.data.infer.columns import profile
from tasks.data.infer.sample import VALUES, Sample

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

    def described(self) -> str:
        """Classes with their rows, the largest first."""
        largest = sorted(self.counts.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {count:,}" for name, count in largest[:10])
        return f"{shown} and {len(largest) - 10} more" if len(largest) > 10 else shown


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
        BadInput: the column holds a quantity, or names or texts.
    """
    counts, found = sample.counts(label), profile(label, sample.column(label))
    values = found.present.to_pylist() if found.type == "number" else []
    broken = any(value != int(value) for value in values)
    if values and found.distinct > 20 and (broken or found.distinct > max(_MANY, len(values) / 10)):
        message = f"The label {label!r} is a quantity ({min(values):g} to {max(values):g}, {found.distinct} values):"
        fix = "Choose a label with few values (--label COLUMN), or add a column that names the class of each range."
        raise BadInput(f"{message} regression is not there yet, only classification.", fix)
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
