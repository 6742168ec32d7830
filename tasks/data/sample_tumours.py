"""``tumours``: 569 real breast masses, 30 measurements each, benign or malignant (Street, Wolberg, Mangasarian, 1993).

scikit-learn ships the table; it lands as CSV in 5 days. Nine more rows are dirty on purpose, each in its own way.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tasks.core.spec import Project
from tasks.data.sample_drops import Row, deal, times, with_value, write_drop

DAYS = 5
"""Daily drops."""

DIRT: Mapping[int, tuple[str, ...]] = {
    0: ("wrong_type", "null_label"),
    1: ("out_of_range", "repeated"),
    2: ("unknown_label", "short_row"),
    3: ("bad_event_time",),
    4: ("null_number", "measured_twice"),
}
"""Day (from 0) to the dirty rows added to it."""

_FIRST_NUMBER = 3
"""After sample, time and diagnosis."""


def land(spec: Project, folder: Path) -> None:
    """Writes the drops into ``folder``."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    header = ["sample_id", "event_time", "diagnosis", *map(str, data.feature_names)]
    keys = [f"tumour-{number:03d}" for number in range(len(data.target))]
    for position, (day, numbers) in enumerate(deal(keys, spec.start, DAYS)):
        rows = [
            [keys[number], time, str(data.target_names[data.target[number]]), *map(str, data.data[number].tolist())]
            for number, time in zip(numbers, times(day, len(numbers)), strict=True)
        ]
        for kind in DIRT[position]:
            rows.append(_dirty_row(kind, rows))
        write_drop(folder, day, "masses.csv", [header, *rows])


def _dirty_row(kind: str, rows: list[Row]) -> Row:
    """One more row for ``rows`` with the wanted fault, and no other."""
    sample, time, label, *numbers = rows[10 + len(rows) % 50]
    if kind == "repeated":
        return [sample, time, label, *numbers]
    if kind == "measured_twice":
        return [sample, time, label, *numbers[:-1], str(float(numbers[-1]) * 1.01)]
    # Off by a little, so that the row is another one than its model.
    row = [f"{sample}-{kind.replace('_', '-')}", time, label, str(float(numbers[0]) * 1.01), *numbers[1:]]
    return _FAULTS[kind](row)


_FAULTS: Mapping[str, Callable[[Row], Row]] = {
    "bad_event_time": with_value(1, "yesterday"),
    "null_label": with_value(2, ""),
    "unknown_label": with_value(2, "unclear"),
    "wrong_type": with_value(_FIRST_NUMBER, "about 14"),
    "null_number": with_value(_FIRST_NUMBER, ""),
    "out_of_range": with_value(_FIRST_NUMBER, "-14.2"),
    "short_row": lambda row: row[:-5],
}
