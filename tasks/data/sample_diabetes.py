"""``diabetes``: 442 real patients, 10 measurements each, and how far the disease had gone a year later.

The data of Efron, Hastie, Johnstone and Tibshirani, "Least angle regression" (2004), which scikit-learn ships; it lands
as CSV in 4 days. Eight more rows are dirty on purpose, each in its own way.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tasks.core.spec import Project
from tasks.data.sample_drops import Row, deal, times, with_value, write_drop

DAYS = 4
"""Daily drops."""

DIRT: Mapping[int, tuple[str, ...]] = {
    0: ("label_in_words", "repeated"),
    1: ("null_label", "label_out_of_range"),
    2: ("endless_label", "wrong_type"),
    3: ("null_number", "short_row"),
}
"""Day (from 0) to the dirty rows added to it."""

HEADER = ("patient", "event_time", "progression", "age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu")
_LABEL, _FIRST_NUMBER = 2, 3


def land(spec: Project, folder: Path) -> None:
    """Writes the drops into ``folder``."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    keys = [f"patient-{number:03d}" for number in range(len(data.target))]
    for position, (day, numbers) in enumerate(deal(keys, spec.start, DAYS)):
        rows = [
            [keys[number], time, f"{data.target[number]:g}", *map(str, data.data[number].tolist())]
            for number, time in zip(numbers, times(day, len(numbers)), strict=True)
        ]
        for kind in DIRT[position]:
            rows.append(_dirty_row(kind, rows))
        write_drop(folder, day, "patients.csv", [list(HEADER), *rows])


def _dirty_row(kind: str, rows: list[Row]) -> Row:
    """One more row for ``rows`` with the wanted fault, and no other."""
    patient, *values = rows[10 + len(rows) % 50]
    if kind == "repeated":
        return [patient, *values]
    return _FAULTS[kind]([f"{patient}-{kind.replace('_', '-')}", *values])


_FAULTS: Mapping[str, Callable[[Row], Row]] = {
    "null_label": with_value(_LABEL, ""),
    "label_in_words": with_value(_LABEL, "severe"),
    "endless_label": with_value(_LABEL, "1e999"),
    "label_out_of_range": with_value(_LABEL, "-1"),
    "wrong_type": with_value(_FIRST_NUMBER, "forty"),
    "null_number": with_value(_FIRST_NUMBER, ""),
    "short_row": lambda row: row[:-3],
}
