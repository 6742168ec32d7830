"""A partition as ingestion publishes it, made by the test, and what validation makes of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.artifacts import Manifest, Rows
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.core.store import Store, open_store
from tasks.data.quarantine import Rejected, from_jsonl
from tests.stages import load_stage, stage

DAY = "2026-01-01"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

UTC_TIME = pa.timestamp("us", tz="UTC")
TYPES = {"number": pa.float64(), "boolean": pa.bool_(), "category": pa.string(), "text": pa.string(), "time": UTC_TIME}

_COMMON = [("row_id", pa.int64()), ("entity", pa.string()), ("event_time", UTC_TIME), ("known_time", UTC_TIME)]
_COMMON += [(name, pa.string()) for name in ("label", "digest", "uri", "defect", "detail")]
_IMAGE = [("image", pa.string()), ("image_hash", pa.int64()), ("bytes", pa.int64()), ("width", pa.int32())]
_IMAGE += [("height", pa.int32()), ("mode", pa.string()), ("format", pa.string())]

_SPEC: dict[str, Any] = {
    "name": "rows",
    "start": DAY,
    "classes": ["yes", "no"],
    "gates": [{"metric": "accuracy", "min": 0.5}],
}


def image_spec(**validation: Any) -> Project:
    """A project over images."""
    return Project.model_validate(
        {
            **_SPEC,
            "source": {"uri": "none"},
            "image": {"height": 8, "width": 8},
            "features": [{"kind": "image_stats"}],
            "validation": {"tolerated": 1.0, **validation},
        }
    )


def table_spec(
    columns: Mapping[str, str], nullable: bool = True, source: Mapping[str, Any] | None = None, **validation: Any
) -> Project:
    """A project over a table with ``columns`` (name to type), and ``x``, which the feature needs."""
    declared = [{"name": name, "type": type, "nullable": nullable} for name, type in {"x": "number", **columns}.items()]
    return Project.model_validate(
        {
            **_SPEC,
            "task": "tabular_classification",
            "source": {"uri": "none", "format": "table", "columns": declared, **(source or {})},
            "model": {"family": "mlp"},
            "features": [{"kind": "numeric", "columns": ["x"]}],
            "validation": {"tolerated": 1.0, **validation},
        }
    )


def table_of(spec: Project, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as ingestion's table; what a row does not say is sound and its own."""
    own = _IMAGE if spec.source.has_images else [(column.name, TYPES[column.type]) for column in spec.source.columns]
    schema = pa.schema([*_COMMON, *own])
    return pa.Table.from_pylist([{**_sound(number), **row} for number, row in enumerate(rows)], schema)


def _sound(number: int) -> dict[str, Any]:
    sound = {"row_id": number, "entity": f"e{number}", "event_time": NOON, "label": "yes", "digest": f"d{number}"}
    return {**sound, "uri": "raw", "width": 8, "height": 8, "x": float(number)}


@dataclass
class Partition:
    """One partition and its validation, in the home that the test has set."""

    spec: Project
    store: Store = field(default_factory=lambda: open_store(settings().store_uri))

    def validate(
        self, rows: Sequence[Mapping[str, Any]] | pa.Table, drift: Mapping[str, Sequence[str]] | None = None
    ) -> Manifest:
        """Publishes the rows and validates them, through the cache; ``drift``: the schema's changes."""
        table = rows if isinstance(rows, pa.Table) else table_of(self.spec, rows)

        @stage("ingest", "description")
        def ingest(ctx: Context) -> Outcome:
            pq.write_table(table, ctx.out / "rows.parquet", row_group_size=1000)
            schema = {"added": [], "removed": [], "retyped": [], **(drift or {})}
            # In the artifact, too: keys are made from its files.
            (ctx.out / "schema.json").write_text(json.dumps(schema))
            return Outcome(Rows(received=len(table), published=len(table)), metrics={"schema": schema})

        registry = Registry(settings().registry_url)
        try:
            given = {"store": self.store, "registry": registry, "partition": DAY}
            key = self.spec.model_copy(update={"description": f"{table.to_pydict()} {drift}"})
            ingested = execute(ingest, key, {}, **given)
            gate = load_stage("tasks.data.validate:validate")
            return execute(gate, self.spec, {"ingest": [ingested]}, **given)
        finally:
            registry.close()

    def clean(self, manifest: Manifest) -> list[int]:
        """The ``row_id`` of the published rows."""
        path = self.store.fetch(f"{manifest.folder}/rows.parquet")
        return pq.read_table(path, columns=["row_id"])["row_id"].to_pylist()

    def rejected(self, manifest: Manifest) -> dict[int, Rejected]:
        """The quarantined rows, by ``row_id``."""
        found = from_jsonl(self.store.read_bytes(f"{manifest.folder}/rejected.jsonl"))
        return {item.row["row_id"]: item for item in found}
