"""The point-in-time join: 1M labels x 5 views, against hand-written DuckDB as-of joins and Feast's stock retrieval."""

import importlib
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Figure
from tasks.core.settings import ROOT

VIEWS = 5
WIDE = (1_000_000, 100_000)
"""Labels, and as many rows in each view; and entities: ten values of each."""
DEEP = (30_000, 100)
"""Three hundred values of each entity: Feast's stock retrieval pairs every label with all the earlier ones."""

_HOUR = 3_600_000_000
_STAMP = pa.timestamp("us", "UTC")


def measure() -> list[Figure]:
    """Every way runs in a process of its own, over the same files; the answers are compared."""
    with tempfile.TemporaryDirectory() as name:
        wide, deep = Path(name) / "wide", Path(name) / "deep"
        _make(wide, *WIDE)
        _make(deep, *DEEP)
        turns = [(_run("by_hand", wide), _run("ours", wide)) for _ in range(3)]
        by_hand, ours = map(min, zip(*turns, strict=True))
        stock, deep_stock, deep_ours = _run("stock", wide), _run("stock", deep), _run("ours", deep)
        pairs = ((wide, "by_hand", "ours"), (wide, "stock", "ours"), (deep, "stock", "ours"))
        equal = sum(_same(*pair) for pair in pairs) / len(pairs)
    return [
        Figure(f"{WIDE[0]:,} labels x {VIEWS} views, known-time cutoff on", ours.seconds, "s"),
        Figure("join / hand-written", ours.seconds / by_hand.seconds, "ratio", "<= 2", f"DuckDB ASOF joins: {by_hand}"),
        Figure("memory at the peak", ours.megabytes, "MB", "", f"hand-written: {by_hand.megabytes:.0f} MB"),
        Figure("Feast's stock duckdb / ours", stock.seconds / ours.seconds, "ratio", "", f"stock: {stock}"),
        Figure(
            f"the same, {DEEP[0]:,} labels, {DEEP[0] // DEEP[1]} values of an entity",
            deep_stock.seconds / deep_ours.seconds,
            "ratio",
            "",
            f"stock: {deep_stock}; ours: {deep_ours}",
        ),
        Figure("equal answers, row by row", equal, "share", ">= 1", "hand-written and stock"),
    ]


@dataclass(frozen=True, order=True)
class _Cost:
    """What one way took: wall time, and memory of its process at the peak."""

    seconds: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.megabytes:.0f} MB"


def _make(folder: Path, rows: int, entities: int) -> None:
    """Labels, and views whose values are known an hour after their event; no two have the same time."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    start = 1_767_225_600_000_000
    for number in range(VIEWS):
        entity, event = rng.integers(0, entities, rows), start + rng.integers(0, 10**9, rows) * 1000
        order = np.lexsort((event, entity))
        vectors = pa.array(rng.random(4 * rows, np.float32))
        columns = {
            "entity": pa.array(entity[order]).cast(pa.string()),
            "event_time": pa.array(event[order]).cast(_STAMP),
            "known_at": pa.array(event[order] + _HOUR).cast(_STAMP),
            "created_at": pa.array(event[order] + 24 * _HOUR).cast(_STAMP),
            f"vector_{number}": pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * 4, pa.int32()), vectors),
            f"number_{number}": pa.array(rng.random(rows)),
            "unused": pa.array(rng.random(rows)),
        }
        pq.write_table(pa.table(columns), folder / f"view_{number}.parquet")
    labels = {
        "entity": pa.array(rng.integers(0, entities, rows)).cast(pa.string()),
        "event_timestamp": pa.array(start + rng.integers(0, 10**9, rows) * 1000 + 1).cast(_STAMP),
        "label": pa.array(np.arange(rows)),
    }
    pq.write_table(pa.table(labels), folder / "labels.parquet")


def _run(way: str, folder: Path) -> _Cost:
    command = [sys.executable, "-m", "benchmarks.join", way, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return _Cost(*map(float, done.stdout.splitlines()[-1].split()))


def _same(folder: Path, one: str, other: str) -> bool:
    left, right = (pq.read_table(folder / f"{way}.parquet").sort_by("label") for way in (one, other))
    return left.num_rows == right.num_rows and all(left[name].equals(right[name]) for name in left.column_names)


def _by_hand(folder: Path) -> pa.Table:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("labels", pq.read_table(folder / "labels.parquet").to_pandas())
    columns = ", ".join(f"v{n}.vector_{n}, v{n}.number_{n}" for n in range(VIEWS))
    joins = " ".join(
        f"ASOF LEFT JOIN '{folder}/view_{n}.parquet' v{n}"
        f" ON labels.entity = v{n}.entity AND labels.event_timestamp >= v{n}.known_at"
        for n in range(VIEWS)
    )
    return connection.sql(f"SELECT labels.*, {columns} FROM labels {joins}").to_arrow_table()


def _by_feast(folder: Path, offline_store: dict[str, str], by_created: bool) -> pa.Table:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Array, Float32, Float64, String

    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"registry_{by_created}.db"),
        offline_store=offline_store,
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entity = Entity(name="entity", join_keys=["entity"], value_type=ValueType.STRING)
    views = []
    for n in range(VIEWS):
        source = FileSource(
            name=f"source_{n}",
            path=str(folder / f"view_{n}.parquet"),
            timestamp_field="event_time",
            # Stock Feast can hold back by the created time alone.
            created_timestamp_column="known_at" if by_created else "created_at",
            tags={"known_at": "known_at"},
        )
        fields = [(f"vector_{n}", Array(Float32)), (f"number_{n}", Float64), ("entity", String)]
        schema = [Field(name=name, dtype=dtype) for name, dtype in fields]
        views.append(FeatureView(name=f"view_{n}", entities=[entity], schema=schema, source=source))
    store.apply([entity, *views])
    labels = pq.read_table(folder / "labels.parquet").to_pandas()
    asked = [f"view_{n}:{name}_{n}" for n in range(VIEWS) for name in ("vector", "number")]
    job = store.get_historical_features(entity_df=labels, features=asked, filter_by_created_timestamp=by_created)
    return job.to_arrow()


def _child(way: str, folder: Path) -> None:
    """Runs one way over ``folder``, keeps its answer there, and prints what it cost beyond imports."""
    for library in ("duckdb", "feast", "ibis.backends.duckdb"):
        importlib.import_module(library)
    ways = {
        "by_hand": lambda: _by_hand(folder),
        "ours": lambda: _by_feast(folder, {"type": "tasks.features.offline_store.KnownTimeOfflineStore"}, False),
        "stock": lambda: _by_feast(folder, {"type": "duckdb"}, True),
    }
    started = time.monotonic()
    answer = ways[way]()
    seconds = time.monotonic() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pq.write_table(answer, folder / f"{way}.parquet")
    print(seconds, megabytes)


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
