"""Random rows in shards and a project over them: what a measurement of training is fed with."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.config import replace
from tasks.core.layout import FILE, Layout
from tasks.core.shards import pack, write_split
from tasks.core.spec import Project

CLASSES = 10


def write(folder: Path, rows: Mapping[str, int], *, side: int | None, features: int) -> None:
    """Writes shards and transformed features as the dataset and transform stages do.

    Args:
        rows: of each split.
        side: of the RGB images; None for a table.
        features: dimensions.
    """
    random = np.random.default_rng(0)
    for split, count in rows.items():
        images = random.integers(0, 256, (count, side, side, 3), np.uint8) if side else None
        times = [datetime(2026, 1, 1, tzinfo=UTC)] * count
        names = [str(row) for row in range(count)]
        table = pack(images, {}, random.integers(0, CLASSES, count), names, names, times)
        write_split(folder, split, table, rows_per_shard=16_384)
        np.save(folder / f"{split}.npy", random.normal(size=(count, features)).astype(np.float32))
    (folder / FILE).write_text(json.dumps({"slices": Layout.plain(features).as_json()}))


def project(side: int | None, overrides: Mapping[str, Any]) -> Project:
    """A project over what `write` wrote; ``overrides`` maps dotted fields to values."""
    values = {
        "name": "synthetic",
        "task": "image_classification" if side else "tabular_classification",
        "start": "2026-01-01",
        "classes": [str(number) for number in range(CLASSES)],
        "source": {
            "uri": "none",
            "format": "images" if side else "table",
            "columns": [] if side else [{"name": "x", "type": "number"}],
        },
        "image": side and {"height": side, "width": side, "channels": 3},
        "features": [{"kind": "image_stats"} if side else {"kind": "numeric", "columns": ["x"]}],
        "model": {"family": "convnet" if side else "mlp"},
        "gates": [{"metric": "accuracy", "min": 0.1}],
    }
    return replace(Project.model_validate(values), overrides)
