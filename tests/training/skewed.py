"""A skewed set of small images with features, few of one class, and a project over it; numbers along a line."""

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
from tasks.training.batches import Rows
from tasks.training.checkpoint import Checkpoints
from tasks.training.loop import Job

SHAPE = (4, 4, 1)
FEATURES = 3

SPEC = {
    "name": "skewed",
    "start": "2026-01-01",
    "classes": ["a", "b", "c"],
    "source": {"uri": "landing/skewed"},
    "image": {"height": SHAPE[0], "width": SHAPE[1], "channels": SHAPE[2]},
    "features": [{"kind": "image_stats"}],
    "model": {"family": "mlp", "units": [8], "dropout": 0.2},
    "training": {"epochs": 3, "batch_size": 16, "learning_rate": 0.01},
    "gates": [{"metric": "accuracy", "min": 0.1}],
}


def project(overrides: Mapping[str, Any] | None = None) -> Project:
    """The project; ``overrides`` maps dotted fields to values."""
    return replace(Project.model_validate(SPEC), overrides or {})


def rows(*sizes: int, seed: int = 0, apart: float = 1.0) -> Rows:
    """So many rows of each class, whose clouds overlap; ``apart`` tells how little."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    features = random.normal(size=(len(labels), FEATURES)) + apart * labels[:, None]
    images = random.integers(0, 200, (len(labels), *SHAPE)) + 20 * labels[:, None, None, None]
    return Rows([images.astype(np.uint8)], [features.astype(np.float32)], labels)


def line(count: int, seed: int, slope: float = 3000) -> Rows:
    """Rows whose label is ``slope`` times the first feature, plus 2000."""
    features = np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)
    return Rows(None, [features], (slope * features[:, 0] + 2000).astype(np.float32))


def write(folder: Path, **splits: Rows) -> None:
    """Writes shards and transformed features as the dataset and transform stages do; folds 0, 1 and 2 take turns."""
    for name, split in splits.items():
        names, times = [str(row) for row in range(len(split))], [datetime(2026, 1, 1, tzinfo=UTC)] * len(split)
        images = None if split.images is None else np.concatenate(split.images)
        table = pack(images, {}, split.labels, names, names, times, folds=np.arange(len(split)) % 3)
        # Several shards, the last of another size.
        write_split(folder, name, table, rows_per_shard=100)
        np.save(folder / f"{name}.npy", np.concatenate(split.features))
    (folder / FILE).write_text(json.dumps({"slices": Layout.plain(FEATURES).as_json()}))


def job(folder: Path, checkpoints: Path | None = None, **overrides: Any) -> Job:
    """A job over what `write` wrote; ``checkpoints`` is the store that it saves in."""
    spec = project(overrides)
    saved = Checkpoints(str(checkpoints), "checkpoints") if checkpoints else None
    return Job(spec, folder, folder, spec.training.epochs, saved)
