"""A platform of a test's own: partitions whose features are given, and the feature stages over them."""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.core.artifacts import Manifest, Rows, digest_bytes
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.core.store import Store, open_store
from tasks.runtime.extractors import widths
from tasks.runtime.table_features import is_text
from tests.servers.online import KINDS, empty, postgres_server, redis_server
from tests.stages import load_stage, stage

CLASSES = ("a", "b")

SPEC = {
    "name": "toy",
    "start": "2026-01-01",
    "classes": CLASSES,
    "source": {"uri": "landing/toy"},
    "image": {"height": 8, "width": 8, "channels": 1},
    "features": [{"kind": "image_stats"}, {"kind": "hog", "cell": 4}],
    "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 3},
    "gates": [{"metric": "accuracy", "min": 0.5}],
}
"""A small project, two extractors wide."""


TABLE = {
    "name": "toy",
    "start": "2026-01-01",
    "task": "tabular_classification",
    "classes": CLASSES,
    "source": {
        "uri": "landing/toy",
        "format": "table",
        "columns": [{"name": "size", "type": "number"}, {"name": "shop", "type": "category"}],
    },
    "features": [
        {"kind": "numeric", "columns": ["size"]},
        {"kind": "categorical", "columns": ["shop"], "name": "shops"},
    ],
    "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 3},
    "model": {"family": "mlp"},
    "gates": [{"metric": "accuracy", "min": 0.5}],
}
"""A small project over a table."""


@dataclass(frozen=True)
class Row:
    """One row of ``features.parquet``; pixels and features follow from ``seed``, unless features are given.

    Attributes:
        late: minutes from the event until it is known.
        image_hash: the perceptual hash; None: it has none.
    """

    entity: str
    day: str = "2026-01-01"
    minute: int = 0
    label: str = "a"
    seed: int = 0
    features: Mapping[str, Sequence[Any] | None] = field(default_factory=dict)
    late: int = 0
    image_hash: int | None = None

    @property
    def event_time(self) -> datetime:
        return datetime.fromisoformat(self.day).replace(tzinfo=UTC) + timedelta(minutes=self.minute, microseconds=7)

    @property
    def pixels(self) -> np.ndarray:
        return np.random.default_rng(self.seed).integers(0, 256, (8, 8), np.uint8)

    @property
    def known_at(self) -> datetime:
        return self.event_time + timedelta(minutes=self.late)

    @property
    def digest(self) -> str:
        return digest_bytes(self.pixels.tobytes())

    def values(self, group: str, width: int) -> list[Any] | None:
        given = self.features.get(group, np.random.default_rng([self.seed, width]).random(width, np.float32).tolist())
        return None if given is None else list(given)


@dataclass(frozen=True)
class Platform:
    """A store and a registry under one UPDRAFT_HOME, and what the stages make in them."""

    spec: Project
    store: Store
    registry: Registry

    def features(self, rows: Sequence[Row], day: str = "2026-01-01", spec: Project | None = None) -> Manifest:
        """Publishes the rows as the features stage would, and their images as ingestion would."""
        spec = spec or self.spec
        for row in rows:
            self.store.write_bytes(uri(row), png(row.pixels))

        @stage("features", "features", "image", outside=lambda _: {"rows": repr(rows)})
        def given(ctx: Context) -> Outcome:
            pq.write_table(table(spec, rows, day), ctx.out / "features.parquet")
            return Outcome(Rows(received=len(rows), published=len(rows)))

        return self.run(given, {}, day, spec)

    def materialize(self, rows: Sequence[Row], day: str = "2026-01-01", spec: Project | None = None) -> Manifest:
        """Publishes the rows' features and materializes them."""
        return self.to_feast(self.features(rows, day, spec), spec)

    def to_feast(self, features: Manifest, spec: Project | None = None, force: bool = False) -> Manifest:
        """Materializes the date of these features."""
        target, inputs = "tasks.features.materialize:materialize", {"features": [features]}
        return self.run(target, inputs, features.partition, spec, force)

    def dataset(self, *partitions: Manifest) -> Manifest:
        """The dataset of these partitions."""
        return self.run("tasks.features.dataset:dataset", {"materialize": partitions})

    def run(
        self, target, inputs, partition: str | None = None, spec: Project | None = None, force: bool = False
    ) -> Manifest:
        """Executes a stage, or the one at ``module:attribute``."""
        chosen = load_stage(target) if isinstance(target, str) else target
        where = {"store": self.store, "registry": self.registry, "partition": partition}
        return execute(chosen, spec or self.spec, inputs, force=force, **where)

    def path(self, manifest: Manifest, name: str = "") -> Path:
        """Where one of the artifact's files lies."""
        return self.store.fetch(f"{manifest.folder}/{name}")


def uri(row: Row) -> str:
    return f"toy/ingest/key/files/{row.seed}.png"


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def table(spec: Project, rows: Sequence[Row], day: str) -> pa.Table:
    """``features.parquet``: sorted by entity and event time; the platform has it at the end of the day."""
    rows = sorted(rows, key=lambda row: (row.entity, row.event_time))
    created = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
    stamp, text = pa.timestamp("us", "UTC"), pa.string()
    in_json = [None if spec.image else json.dumps({"seed": row.seed}) for row in rows]
    columns = {
        "entity": pa.array([row.entity for row in rows], text),
        "event_time": pa.array([row.event_time for row in rows], stamp),
        "known_at": pa.array([row.known_at for row in rows], stamp),
        "created_at": pa.array([created] * len(rows), stamp),
        "label": pa.array([row.label for row in rows], text),
        "digest": pa.array([row.digest for row in rows], text),
        "uri": pa.array([uri(row) for row in rows], text),
        "image_hash": pa.array([row.image_hash for row in rows], pa.int64()),
        "row": pa.array(in_json, text),
    }
    for feature in spec.features:
        width = widths([feature], spec.image)[feature.group]
        values = [row.values(feature.group, width) for row in rows]
        columns[feature.group] = pa.array(values, pa.list_(text if is_text(feature) else pa.float32()))
    return pa.table(columns)


def some_rows(count: int, day: str = "2026-01-01", start: int = 0) -> list[Row]:
    """Rows of entities e0, e1, ...: enough of them fill every split."""
    numbers = range(start, start + count)
    return [Row(f"e{n}", day, minute=n % 1440, label=CLASSES[n % 2], seed=n) for n in numbers]


@pytest.fixture(scope="session")
def spec() -> Project:
    """The small project."""
    return Project.model_validate(SPEC)


@pytest.fixture(scope="module")
def new_platform(spec: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Platform]]:
    """Makes platforms, each with a home of its own; the newest one's home and online store are in the settings."""
    registries = []
    with pytest.MonkeyPatch.context() as patch:

        def make(online: str = "") -> Platform:
            patch.setenv("UPDRAFT_HOME", str(tmp_path_factory.mktemp("home")))
            patch.setenv("UPDRAFT_ONLINE_STORE", online)
            settings.cache_clear()
            registries.append(Registry(settings().registry_url))
            return Platform(spec, open_store(settings().store_uri), registries[-1])

        yield make
        for registry in registries:
            registry.close()
    settings.cache_clear()


@pytest.fixture
def platform(new_platform: Callable[..., Platform]) -> Platform:
    """A fresh platform."""
    return new_platform()


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server of every kind of online store; empty for SQLite."""
    servers = {"redis": redis_server, "postgresql": postgres_server}
    with servers[request.param]() if request.param in servers else nullcontext("") as url:
        yield url


@pytest.fixture
def online(new_platform: Callable[..., Platform], server: str) -> Platform:
    """A fresh platform with an empty online store of every kind."""
    empty(server)
    return new_platform(server)
