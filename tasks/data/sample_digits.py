"""``digits``: the 1,797 real 8x8 handwritten digits of the UCI data set (Alpaydin and Kaynak, 1998).

scikit-learn ships them; they land as PNG files and a labels file in 8 days. Eight more rows are dirty on purpose: two
each of truncated file, unknown label, repeated row and missing file.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.core.spec import Project
from tasks.data.sample_drops import deal, times

DAYS = 8
"""Daily drops."""

DIRT: Mapping[int, tuple[str, ...]] = {
    1: ("truncated",),
    2: ("unknown_label", "repeated"),
    4: ("missing", "truncated"),
    6: ("unknown_label", "repeated", "missing"),
}
"""Day (from 0) to the dirty rows added to it."""

Row = tuple[str, str, str, str]
"""Entity, image path, label, event time: one line of the labels file."""


def land(spec: Project, folder: Path) -> None:
    """Writes the drops into ``folder``."""
    # Here, because other projects' samples land too, and scikit-learn takes a second to import.
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    keys = [f"digit-{number}" for number in range(len(pixels))]
    for position, (day, numbers) in enumerate(deal(keys, spec.start, DAYS)):
        drop = folder / f"date={day}"
        (drop / "images").mkdir(parents=True)
        rows = [
            (f"digit-{number:04d}", f"images/digit-{number:04d}.png", str(digits.target[number]), time)
            for number, time in zip(numbers, times(day, len(numbers)), strict=True)
        ]
        for (_, image, _, _), number in zip(rows, numbers, strict=True):
            (drop / image).write_bytes(_png(pixels[number]))
        for kind in DIRT.get(position, ()):
            rows.append(_dirty_row(kind, position, rows, drop))
        _write_labels(spec, drop, rows)


def _dirty_row(kind: str, day: int, rows: list[Row], drop: Path) -> Row:
    """One more row for ``rows`` with the wanted fault; its file, where it has one, is written."""
    # Another row's neighbour each time, so that faults do not pile up on one digit.
    _, image, label, time = model = rows[10 + len(rows) % 50]
    if kind == "repeated":
        return model
    entity = f"digit-{kind.replace('_', '-')}-{day}"
    path = f"images/{entity}.png"
    data = (drop / image).read_bytes()
    if kind == "truncated":
        (drop / path).write_bytes(data[: len(data) // 2])
    elif kind == "unknown_label":
        # Turned upside down: a new file, so that the label is all that is wrong with it.
        (drop / path).write_bytes(_png(np.flipud(np.asarray(Image.open(io.BytesIO(data))))))
        label = "?"
    return entity, path, label, time


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _write_labels(spec: Project, drop: Path, rows: list[Row]) -> None:
    with (drop / spec.source.labels).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((spec.source.entity, spec.source.image, spec.source.label, spec.source.event_time))
        writer.writerows(rows)
