"""Sources with every kind of dirt at known places, and what must come of them."""

import csv
import io
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DAY = "2026-05-01"
NOON = f"{DAY}T12:00:00Z"
CLEAN = 400
"""Clean rows beside the dirty ones."""

IMAGES: dict[str, Any] = {
    "name": "dirty_images",
    "start": DAY,
    "end": DAY,
    "classes": ["dark", "bright"],
    "image": {"height": 16, "width": 16, "channels": 3},
    "validation": {"tolerated": 0.2, "near_duplicate_bits": 2},
    "features": [{"kind": "image_stats"}],
    "model": {"family": "mlp", "units": [16]},
    "training": {"epochs": 2, "batch_size": 16},
    "tuning": {"trials": 1, "epochs": 1},
    "gates": [{"metric": "accuracy", "min": 0.5}],
}
"""A project over what `write_images` writes, less its source's uri."""

TABLE: dict[str, Any] = {
    **IMAGES,
    "name": "dirty_table",
    "task": "tabular_classification",
    "image": None,
    "validation": {"tolerated": 0.2},
    "features": [{"kind": "numeric", "columns": ["size"]}, {"kind": "categorical", "columns": ["town"]}],
}
COLUMNS = [{"name": "size", "type": "number"}, {"name": "town", "type": "category"}]

SIZE_RULE = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "size", "min_value": 0, "max_value": 100},
    "meta": {"reason": "size_out_of_range"},
}
WIDTH_RULE = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "width", "min_value": 32, "max_value": 64},
    "meta": {"reason": "width_out_of_range"},
}


def photo(seed: int, side: int = 48, **options: Any) -> bytes:
    """A PNG (or ``format``) of coarse random blocks: no two are near-duplicates."""
    random = np.random.default_rng(seed)
    level = 40 if seed % 2 else 160
    blocks = random.integers(0, 90, (8, 8, 3)).astype(np.uint8) + np.uint8(level)
    picture = Image.fromarray(blocks).resize((side, side), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, options.pop("format", "PNG"), **options)
    return file.getvalue()


def write_images(source: Path) -> Counter[str]:
    """Writes a partition of images with every fault once or more; returns rows by reason code, "" for clean ones."""
    drop = source / f"date={DAY}"
    drop.mkdir(parents=True)
    rows: list[tuple[str, str, str, str]] = []
    expected: Counter[str] = Counter()

    def add(reason: str, name: str, data: bytes | None, *, entity: str | None = None, **fields: str) -> None:
        if data is not None:
            path = drop / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        label, time = fields.get("label", "dark"), fields.get("time", NOON)
        rows.append((f"e{len(rows)}" if entity is None else entity, fields.get("path", name), label, time))
        expected[reason] += 1

    for number in range(CLEAN):
        add("", f"clean/{number}.png", photo(number), label=("bright", "dark")[number % 2])
    for name in ("Ünïcödé ☃.png", "naïve name with  blanks.png", "100%_#?&.png", "日本語/図.png", "e\u0301.png"):
        add("", name, photo(len(rows)))
    add("", "photo.jpg", photo(9001, format="JPEG", quality=95))
    add("", "animation.gif", photo(9002, format="GIF"))
    add("empty_file", "empty.png", b"")
    add("truncated_image", "half.png", photo(9003)[:900])
    add("truncated_image", "half.jpg", photo(9004, format="JPEG", quality=95)[:700])
    add("wrong_extension", "really_a_jpeg.png", photo(9005, format="JPEG"))
    add("too_many_pixels", "bomb.png", bomb())
    add("unreadable_image", "text.png", b"this is no image at all")
    add("missing_file", "gone.png", None)
    add("null_image", "", None)
    add("duplicate_image", "copy.png", photo(0))
    add("near_duplicate", "again.jpg", _again(photo(1)))
    add("unknown_label", "label.png", photo(9006), label="green")
    add("null_label", "nolabel.png", photo(9007), label="")
    add("null_entity", "noentity.png", photo(9008), entity="")
    add("null_event_time", "notime.png", photo(9009), time="")
    add("bad_event_time", "badtime.png", photo(9010), time="yesterday")
    add("future_event_time", "future.png", photo(9011), time="2031-01-01T00:00:00Z")
    add("late_event", "late.png", photo(9012), time="2026-04-01T00:00:00Z")
    add("width_out_of_range", "wide.png", photo(9013, side=200))
    add("duplicate_entity", "other.png", photo(9014), entity="e0")
    (source / "secret.png").write_bytes(photo(9015))
    add("path_outside_source", "", None, path="../secret.png")
    add("path_outside_source", "", None, path=str(source / "secret.png"))
    with (drop / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "image", "label", "event_time"), *rows])
        file.write("one,field,too,many,here\n")
    expected["malformed_row"] += 1
    return expected


def write_table(source: Path) -> Counter[str]:
    """The same for rows of a table, in CSV."""
    drop = source / f"date={DAY}"
    drop.mkdir(parents=True)
    header = ("id", "label", "event_time", "size", "town")
    rows: list[tuple[str, ...]] = [
        (f"r{n}", ("dark", "bright")[n % 2], NOON, str(n % 100), ("Ulm", "Łódź")[n % 2]) for n in range(CLEAN)
    ]
    bad = {
        "wrong_type": ("b1", "dark", NOON, "large", "Ulm"),
        "null_size": ("b2", "dark", NOON, "", "Ulm"),
        "null_town": ("b3", "dark", NOON, "3", ""),
        "size_out_of_range": ("b4", "dark", NOON, "5000", "Ulm"),
        "unknown_label": ("b5", "green", NOON, "3", "Ulm"),
        "null_label": ("b6", "", NOON, "3", "Ulm"),
        "null_entity": ("", "dark", NOON, "3", "Ulm"),
        "null_event_time": ("b8", "dark", "", "3", "Ulm"),
        "bad_event_time": ("b9", "dark", "noon", "3", "Ulm"),
        "future_event_time": ("b10", "dark", "2031-01-01", "3", "Ulm"),
        "late_event": ("b11", "dark", "2020-01-01", "3", "Ulm"),
        "duplicate_row": rows[0],
        "duplicate_entity": ("r1", "dark", NOON, "77", "Bonn"),
        "malformed_row": ("b14", "dark", NOON, "3", "Ulm", "more", "and more"),
    }
    with (drop / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows, *bad.values()])
    return Counter({"": CLEAN, **dict.fromkeys(bad, 1)})


def write_project(folder: Path, spec: dict[str, Any], source: Path, rule: dict[str, Any]) -> str:
    """Writes the YAML (JSON is YAML) and the suite; returns the project's name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = spec["name"]
    of = {"uri": str(source)} | ({"format": "table", "columns": COLUMNS} if spec["image"] is None else {})
    (folder / f"{name}.yaml").write_text(json.dumps({**spec, "source": of}), encoding="utf-8")
    (folder / f"{name}.expectations.json").write_text(json.dumps({"name": name, "expectations": [rule]}))
    return name


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = (30_000).to_bytes(4, "big")
    header = chunk(b"IHDR", side + side + bytes([8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def _again(data: bytes) -> bytes:
    """The same picture, saved anew with loss."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "JPEG", quality=92)
    return file.getvalue()
