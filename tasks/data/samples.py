"""Data sets that ship with Updraft, landed as a person's own data would be: files and labels in daily drops.

``digits``: the 1,797 real 8x8 handwritten digits of the UCI data set (Alpaydin and Kaynak, 1998) that scikit-learn
ships, as PNG files in 8 days. Eight more rows are dirty on purpose: two each of truncated file, unknown label, repeated
row and missing file.
"""

import csv
import io
import os
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.core.artifacts import digest_bytes
from tasks.core.errors import BadInput
from tasks.core.spec import Project

DAYS = 8
"""Daily drops of ``digits``."""

DIRT: Mapping[int, tuple[str, ...]] = {
    1: ("truncated",),
    2: ("unknown_label", "repeated"),
    4: ("missing", "truncated"),
    6: ("unknown_label", "repeated", "missing"),
}
"""Day (from 0) to the dirty rows added to it."""

Row = tuple[str, str, str, str]
"""Entity, image path, label, event time: one line of the labels file."""


def land(spec: Project) -> Path | None:
    """Writes the spec's sample where the spec's source is looked for, if nothing is there yet.

    The folder is written aside and renamed once, so that it is there whole or not at all.

    Returns:
        The source's folder, or None when there was nothing to do.

    Raises:
        BadInput: no sample has that name, or the folder cannot be written.
    """
    if spec.source.sample is None or spec.source.folder.exists():
        return None
    if spec.source.sample not in _SAMPLES:
        message = f"{spec.name}: source.sample: there is no sample {spec.source.sample!r}."
        raise BadInput(message, f"Use one of: {', '.join(_SAMPLES)}; or leave the field out.")
    target = spec.source.folder
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".landing-", dir=target.parent) as aside:
            _SAMPLES[spec.source.sample](spec, Path(aside, "whole"))
            return _rename(Path(aside, "whole"), target)
    except OSError as error:
        fix = "Make the folder writable, or change source.uri."
        raise BadInput(f"{spec.name}: the sample cannot be written to {target}: {error.strerror}.", fix) from None


def _rename(folder: Path, target: Path) -> Path | None:
    try:
        os.rename(folder, target)
    except OSError:
        if not target.exists():
            raise
        return None  # Another process landed it meanwhile.
    return target


def _land_digits(spec: Project, folder: Path) -> None:
    # Here, because projects without this sample land too, and scikit-learn takes a second to import.
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    # By digest: the days look alike, and no random generator's version can move a digit to another day.
    order = sorted(range(len(pixels)), key=lambda number: digest_bytes(f"digit-{number}".encode()))
    for day in range(DAYS):
        numbers = order[day::DAYS]
        drop = folder / f"date={spec.start + timedelta(days=day)}"
        (drop / "images").mkdir(parents=True)
        rows = _clean_rows(spec, day, numbers, digits.target)
        for (_, image, _, _), number in zip(rows, numbers, strict=True):
            (drop / image).write_bytes(_png(pixels[number]))
        for kind in DIRT.get(day, ()):
            rows.append(_dirty_row(kind, day, rows, drop))
        _write_labels(spec, drop, rows)


def _clean_rows(spec: Project, day: int, numbers: list[int], labels: np.ndarray) -> list[Row]:
    midnight = datetime.combine(spec.start + timedelta(days=day), datetime.min.time(), UTC)
    step = timedelta(days=1) / len(numbers)
    return [
        (
            f"digit-{number:04d}",
            f"images/digit-{number:04d}.png",
            str(labels[number]),
            (midnight + step * position).isoformat(timespec="seconds"),
        )
        for position, number in enumerate(numbers)
    ]


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


_SAMPLES: Mapping[str, Callable[[Project, Path], None]] = {"digits": _land_digits}
