"""A source made by the test: rows and files written as a person's data would stand on disk."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import execute
from tasks.core.store import Store, open_store
from tests.stages import load_stage

DAY = "2026-01-01"
NOON = f"{DAY}T12:00:00Z"
HEADER = ("digit_id", "image", "label", "event_time")


def png(seed: int, side: int = 8) -> bytes:
    """A PNG of noise; another seed, other bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def table_spec(root: Path, columns: Mapping[str, str], **source: Any) -> Project:
    """A project over a table with these columns (name to type) and ``id``, ``label``, ``event_time``."""
    values = {"uri": str(root), "format": "table"} | source
    return Project.model_validate(
        {
            "name": "trades",
            "task": "tabular_classification",
            "start": DAY,
            "classes": ["yes", "no"],
            "source": values | {"columns": [{"name": name, "type": type} for name, type in columns.items()]},
            "features": [{"kind": "numeric", "columns": [name for name, type in columns.items() if type == "number"]}],
            "model": {"family": "mlp"},
            "gates": [{"metric": "accuracy", "min": 0.5}],
        }
    )


class Source:
    """One partition of a source, and the stages run on it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / f"date={DAY}"
        self.folder.mkdir(parents=True)
        self.spec: Project = load_project("digits", {"source.uri": str(root), "source.sample": None})
        self.store: Store = open_store(settings().store_uri)

    def write(
        self, rows: Sequence[Sequence[str]], files: Mapping[str, bytes] | None = None, header: Sequence[str] = HEADER
    ) -> None:
        """Writes the labels file and the files beside it."""
        with (self.folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
        for name, data in (files or {}).items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)

    def write_clean(self, count: int) -> list[list[str]]:
        """Writes ``count`` rows with nothing wrong and gives them back."""
        rows = [[f"e{number}", f"{number}.png", str(number % 10), NOON] for number in range(count)]
        self.write(rows, {f"{number}.png": png(number) for number in range(count)})
        return rows

    def run(self, stage: str, *inputs: Manifest, spec: Project | None = None, partition: str | None = DAY) -> Manifest:
        """Executes a stage of ``tasks.data`` on the partition."""
        registry = Registry(settings().registry_url)
        try:
            named = {manifest.stage: [manifest] for manifest in inputs}
            target = load_stage(f"tasks.data.{stage}:{stage}")
            spec = spec or self.spec
            return execute(target, spec, named, store=self.store, registry=registry, partition=partition)
        finally:
            registry.close()

    def rows(self, manifest: Manifest) -> list[dict]:
        """The rows that a stage published."""
        return pq.read_table(self.store.fetch(f"{manifest.folder}/rows.parquet")).to_pylist()


@pytest.fixture
def source(home: Path, tmp_path: Path) -> Source:
    return Source(tmp_path / "source")


@pytest.fixture
def new_source(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Source]:
    """Sources beside each other in one home, for tests that draw their data many times."""
    return lambda: Source(tmp_path_factory.mktemp("source"))
