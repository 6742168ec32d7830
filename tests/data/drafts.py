"""Small data of every layout, and the draft of a project for them."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tasks.core.spec import Project
from tasks.data.infer import Draft, infer

TODAY = date(2026, 6, 1)

Rows = Sequence[Mapping[str, Any]]


def drafted(path: Path | str, label: str | None = None) -> Draft:
    """The draft for the data at ``path``, once it is known to be a sound project."""
    draft = infer(str(path), label=label, today=TODAY, say=lambda _: None)
    validation = {**draft.values["validation"], "expectations": draft.expectations}
    Project.model_validate({"name": "mine", **draft.values, "validation": validation})
    return draft


def picture(seed: int, size: tuple[int, int] = (24, 16), mode: str = "RGB", form: str = "PNG") -> bytes:
    """An image of noise, (width, height)."""
    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def write_csv(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


WRITERS: Mapping[str, Callable[[Path, Rows], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def flowers(count: int = 60, **more: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Rows of a small table; ``more``: columns to what they hold in a row."""
    return [
        {
            "flower_id": f"f-{row}",
            "petal": 1.5 + row % 7,
            "colour": ("red", "blue", "white")[row % 3],
            "wild": ("true", "false")[row % 2],
            "label": ("rose", "lily")[row % 2],
            **{name: make(row) for name, make in more.items()},
        }
        for row in range(count)
    ]


def columns(draft: Draft) -> dict[str, str]:
    return {column["name"]: column["type"] for column in draft.values["source"]["columns"]}
