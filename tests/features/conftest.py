"""A platform of a test's own: partitions whose features are given, and the feature stages over them."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.core.artifacts import Manifest, Rows
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute, load_stage, stage
from tasks.core.store import Store, open_store
from tasks.runtime.extractors import widths

CLASSES = ("a", "b")


@dataclass(frozen=True)
class Row:
    """One row of ``features.parquet``; pixels and features follow from ``seed``, unless features are given."""

    entity: str
    day: str = "2026-01-01"
    minute: int = 0
    label: str = "a"
    seed: int = 0
    features: Mapping[str, Sequence[float] | None] = field(default_factory=dict)

    @property
    def event_time(self) -> datetime:
        return datetime.fromisoformat(self.day).replace(tzinfo=UTC) + timedelta(minutes=self.minute, microseconds=7)

    @property
    def pixels(self) -> np.ndarray:
        return np.random.default_rng(self.seed).integers(0, 256, (8, 8), np.uint8)

    def values(self, kind: str, width: int) -> list[float] | None:
        given = self.features.get(kind, np.random.default_rng([self.seed, width]).random(width, np.float32))
        return None if given is None else [float(x) for x in given]


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
        features = self.features(rows, day, spec)
        return self.run("tasks.features.materialize:materialize", {"features": [features]}, day, spec)

    def dataset(self, *partitions: Manifest) -> Manifest:
        """The dataset of these partitions."""
        return self.run("tasks.features.dataset:dataset", {"materialize": partitions})

    def run(self, target, inputs, partition: str | None = None, spec: Project | None = None) -> Manifest:
        """Executes a stage, or the one at ``module:attribute``."""
        chosen = load_stage(target) if isinstance(target, str) else target
        return execute(chosen, spec or self.spec, inputs, store=self.store, registry=self.registry, partition=partition)

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
    """``features.parquet``: sorted by entity, known at the end of the day."""
    rows = sorted(rows, key=lambda row: row.entity)
    known = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
    stamp, vector = pa.timestamp("us", "UTC"), pa.list_(pa.float32())
    columns = {
        "entity": pa.array([row.entity for row in rows], pa.string()),
        "event_time": pa.array([row.event_time for row in rows], stamp),
        "known_at": pa.array([known] * len(rows), stamp),
        "label": pa.array([row.label for row in rows], pa.string()),
        "uri": pa.array([uri(row) for row in rows], pa.string()),
    }
    for kind, width in widths(spec.features, spec.image).items():
        columns[kind] = pa.array([row.values(kind, width) for row in rows], vector)
    return pa.table(columns)


def some_rows(count: int, day: str = "2026-01-01", start: int = 0) -> list[Row]:
    """Rows of entities e0, e1, ...: enough of them fill every split."""
    numbers = range(start, start + count)
    return [Row(f"e{n}", day, minute=n % 1440, label=CLASSES[n % 2], seed=n) for n in numbers]


@pytest.fixture(scope="session")
def spec() -> Project:
    """A small project, two extractors wide."""
    return Project.model_validate(
        {
            "name": "toy",
            "start": "2026-01-01",
            "classes": CLASSES,
            "source": {"uri": "landing/toy"},
            "image": {"height": 8, "width": 8, "channels": 1},
            "features": [{"kind": "image_stats"}, {"kind": "hog", "cell": 4}],
            "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 3},
            "gates": [{"metric": "accuracy", "min": 0.5}],
        }
    )


@pytest.fixture(scope="module")
def new_platform(spec: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Platform]]:
    """Makes platforms, each with a home of its own; the newest one's home is UPDRAFT_HOME."""
    registries = []
    with pytest.MonkeyPatch.context() as patch:

        def make() -> Platform:
            patch.setenv("UPDRAFT_HOME", str(tmp_path_factory.mktemp("home")))
            settings.cache_clear()
            registries.append(Registry(settings().registry_url))
            return Platform(spec, open_store(settings().store_uri), registries[-1])

        yield make
        for registry in registries:
            registry.close()
    settings.cache_clear()


@pytest.fixture
def platform(new_platform: Callable[[], Platform]) -> Platform:
    """A fresh platform."""
    return new_platform()
