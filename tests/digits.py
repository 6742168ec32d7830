"""Real digits as the dataset and transform stages would publish them, and the stages of training run over them."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tasks.core.artifacts import Manifest, Rows
from tasks.core.config import replace
from tasks.core.layout import Layout
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.shards import SPLITS, pack, write_split
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.core.store import Store, open_store
from tasks.runtime.extractors import extract, widths
from tests.stages import load_stage, stage

SPEC = {
    "name": "digits",
    "start": "2026-01-01",
    "classes": [str(digit) for digit in range(10)],
    "source": {"uri": "landing/digits"},
    "image": {"height": 8, "width": 8, "channels": 1},
    "features": [{"kind": "image_stats"}],
    "model": {"family": "mlp", "units": [32], "dropout": 0.3},
    "training": {"ranks": 1, "epochs": 4, "batch_size": 16, "learning_rate": 0.005, "seed": 3},
    "tuning": {
        "trials": 3,
        "epochs": 2,
        "seed": 5,
        "space": {
            "training.learning_rate": {"low": 0.0005, "high": 0.02, "log": True},
            "model.dropout": {"low": 0.0, "high": 0.5},
            "model.units": {"values": [[16], [32, 16]]},
        },
    },
    "gates": [{"metric": "accuracy", "min": 0.5}],
}


def project(overrides: Mapping[str, Any] | None = None) -> Project:
    """A small project over the digits; ``overrides`` maps dotted fields to values."""
    return replace(Project.model_validate(SPEC), overrides or {})


@dataclass(frozen=True)
class Platform:
    """The store and registry under the test's UPDRAFT_HOME."""

    store: Store
    registry: Registry

    def run(self, target: str, spec: Project, partition: str | None = None, **inputs: list[Manifest]) -> Manifest:
        """Executes the stage at ``target``."""
        platform = {"store": self.store, "registry": self.registry}
        return execute(load_stage(target), spec, inputs, partition=partition, **platform)

    def data(self, spec: Project, rows: int) -> dict[str, list[Manifest]]:
        """The inputs ``dataset`` and ``transform`` over the first ``rows`` digits."""
        limited = spec.model_copy(update={"description": str(rows)})
        dataset = execute(_dataset, limited, {}, store=self.store, registry=self.registry)
        transform = execute(_transform, limited, {"dataset": [dataset]}, store=self.store, registry=self.registry)
        return {"dataset": [dataset], "transform": [transform]}


def open_platform() -> Platform:
    """The platform that the settings describe."""
    return Platform(open_store(settings().store_uri), Registry(settings().registry_url))


@contextmanager
def at_home(folder: Path) -> Iterator[Platform]:
    """The platform whose UPDRAFT_HOME is ``folder``, for tests that share what is made there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(folder))
        settings.cache_clear()
        opened = open_platform()
        yield opened
        opened.registry.close()
    settings.cache_clear()


def png(pixels: np.ndarray) -> bytes:
    """A grey PNG of uint8 (H, W)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    return np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int32)


def _split_of(rows: int) -> dict[str, np.ndarray]:
    order = np.random.default_rng(0).permutation(rows)
    first, second = int(rows * 0.7), int(rows * 0.8)
    return dict(zip(SPLITS, (order[:first], order[first:second], order[second:]), strict=True))


@stage("dataset", "classes", "image", "features", "description", "split")
def _dataset(ctx: Context) -> Outcome:
    images, labels = _digits()
    rows = int(ctx.spec.description)
    for split, chosen in _split_of(rows).items():
        uris = [f"digits/ingest/files/{row}.png" for row in chosen]
        for row, uri in zip(chosen, uris, strict=True):
            ctx.store.write_bytes(uri, png(images[row]))
        found = [extract(images[row][..., None], ctx.spec.features) for row in chosen]
        features = {name: np.stack([each[name] for each in found]) for name in found[0]}
        entities, times = [f"digit-{row:04d}" for row in chosen], [datetime(2026, 1, 1, tzinfo=UTC)] * len(chosen)
        folds = np.arange(len(chosen)) % ctx.spec.split.folds
        table = pack(images[chosen][..., None], features, labels[chosen], entities, uris, times, folds=folds)
        write_split(ctx.out, split, table)
    return Outcome(Rows(received=rows, published=rows))


@stage("transform", "features", "image", "description", reproducible=False)
def _transform(ctx: Context) -> Outcome:
    from tasks.core.shards import read_split

    folder = ctx.store.fetch(ctx.input("dataset").folder)
    raw = {name: read_split(folder, name).features for name in SPLITS}
    joined = {name: np.concatenate(list(groups.values()), axis=1) for name, groups in raw.items()}
    mean, deviation = joined["train"].mean(0), joined["train"].std(0)
    for name, values in joined.items():
        scaled = (values - mean) / np.where(deviation > 0, deviation, 1)
        np.save(ctx.out / f"{name}.npy", scaled.astype(np.float32))
    inputs = widths(ctx.spec.features, ctx.spec.image)
    (ctx.out / "transform.json").write_text(
        json.dumps({"inputs": inputs, "slices": Layout.plain(sum(inputs.values())).as_json()})
    )
    return Outcome()
