"""Validation of a million rows with row-level quarantine, beside plain Great Expectations with complete results."""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Figure
from tasks.core.artifacts import Manifest
from tasks.core.registry import Registry
from tasks.core.spec import Project
from tasks.core.stages import Context
from tasks.core.store import open_store

ROWS = 1_000_000
DAY = date(2026, 1, 1)

_BETWEEN, _IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"

_SUITE = [
    {"type": _BETWEEN, "kwargs": {"column": "amount", "min_value": 0, "max_value": 1000}},
    {"type": _BETWEEN, "kwargs": {"column": "quantity", "min_value": 1, "max_value": 100}},
    {"type": _BETWEEN, "kwargs": {"column": "discount", "min_value": 0, "max_value": 0.5, "strict_max": True}},
    {"type": _BETWEEN, "kwargs": {"column": "score", "min_value": -6, "max_value": 6}},
    {"type": _IN_SET, "kwargs": {"column": "country", "value_set": [f"c{number}" for number in range(50)]}},
    {"type": _IN_SET, "kwargs": {"column": "channel", "value_set": ["web", "shop", "phone"]}},
    {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "email", "regex": r"^[^@\s]+@[^@\s]+$"}},
    {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {"column_A": "amount", "column_B": "discount", "or_equal": True},
    },
]

_COLUMNS = {"amount": "number", "quantity": "number", "discount": "number", "score": "number"}
_COLUMNS |= {"country": "category", "channel": "category", "email": "text", "active": "boolean"}


def measure() -> list[Figure]:
    """Both engines over the same rows and rules, one after the other in this process; imports are not counted."""
    from tasks.data.validate import validate

    with tempfile.TemporaryDirectory() as folder:
        context = _context(Path(folder), _table(ROWS))
        outcome, seconds = _timed(lambda: validate(context))
        source = context.file(context.input("ingest"), "rows.parquet")
        (found, rules), plain = _timed(lambda: _plain(context.spec, source))
        clean = pq.read_table(context.out / "rows.parquet", columns=["row_id"])["row_id"].to_numpy()
    ours = set(range(ROWS)) - set(clean.tolist())
    against = f"plain Great Expectations, COMPLETE, {rules} rules: {plain:.1f} s"
    name = f"validate 1M rows x 12 columns, {outcome.rows.quarantined} quarantined"
    return [
        Figure(name, seconds, "s", "", against),
        Figure("times as fast as plain Great Expectations", plain / seconds, "x", ">= 5", against),
        Figure("rows on which the two differ", len(ours ^ found), "rows", "<= 0", against),
    ]


def _table(count: int) -> pa.Table:
    """Twelve columns of a source as ingestion publishes them, and about 1% of the rows bad in nine ways."""
    rng = np.random.default_rng(0)
    number, numbers = np.arange(count), [str(value) for value in range(count)]
    times = np.datetime64("2026-01-01T00:00:00", "us") + (number * 86_400_000_000 // count).astype("timedelta64[us]")
    label = np.array(["yes", "no"])[rng.integers(0, 2, count)]
    entity, email = np.char.add("e", numbers), np.char.add(numbers, "@example.org")
    digest = np.char.zfill(numbers, 64)
    columns: dict[str, Any] = {
        "amount": rng.uniform(0, 1000.5, count),
        "quantity": rng.integers(1, 101, count).astype(float),
        "discount": rng.uniform(0, 0.5, count),
        "score": rng.normal(0, 1.9, count),
        "country": np.char.add("c", rng.integers(0, 50, count).astype(str)),
        "channel": np.array(["web", "shop", "phone"])[rng.integers(0, 3, count)],
        "email": email,
        "active": rng.random(count) < 0.5,
    }
    bad = rng.permutation(count)[: count // 100].reshape(5, -1)
    label[bad[0]], columns["channel"][bad[1]], email[bad[2]] = "?", "fax", "nobody"
    digest[bad[3]], times[bad[4]] = digest[bad[3] - 1], np.datetime64("2026-01-02T00:00:01", "us")
    utc, texts = (
        pa.timestamp("us", tz="UTC"),
        {"uri": pa.nulls(count, pa.string()), "defect": pa.nulls(count, pa.string())},
    )
    first = {"row_id": number, "entity": entity, "event_time": pa.array(times, utc), "known_time": pa.nulls(count, utc)}
    return pa.table({**first, "label": label, "digest": digest, **texts, "detail": texts["uri"], **columns})


def _context(folder: Path, table: pa.Table) -> Context:
    columns = [{"name": name, "type": type} for name, type in _COLUMNS.items()]
    spec = Project.model_validate(
        {
            "name": "bench",
            "task": "tabular_classification",
            "start": str(DAY),
            "classes": ["yes", "no"],
            "source": {"uri": "none", "format": "table", "columns": columns},
            "validation": {"tolerated": 0.2, "expectations": _SUITE},
            "features": [{"kind": "numeric", "columns": ["amount"]}],
            "model": {"family": "mlp"},
            "gates": [{"metric": "accuracy", "min": 0.5}],
        }
    )
    ingested = Manifest(project="bench", stage="ingest", partition=str(DAY), key="rows", digest="rows")
    (folder / "store" / ingested.folder).mkdir(parents=True)
    pq.write_table(table, folder / "store" / ingested.folder / "rows.parquet", row_group_size=65_536)
    (folder / "out").mkdir()
    (folder / "work").mkdir()
    registry = Registry(f"sqlite:///{folder}/registry.db")
    store = open_store(str(folder / "store"))
    context = Context(spec, {"ingest": [ingested]}, store, registry, str(DAY), "bench")
    return dataclasses.replace(context, key="bench", out=folder / "out", work=folder / "work")


def _plain(spec: Project, source: Path) -> tuple[set[int], int]:
    """What a person would write: the suite on the whole table, complete results, of repeated values the first kept."""
    from tasks.data.checkpoint import run_checkpoint
    from tasks.data.expectations import ADDED, UNIQUE, kinds, rules_for

    table = pq.read_table(source)
    rules = [rule for rule in rules_for(spec, DAY, kinds(table.schema)) if rule.columns != (ADDED,)]
    frame = table.to_pandas()
    bad: set[int] = set()
    findings = {finding.rule.number: finding for finding in run_checkpoint(spec, rules, frame)[0]}
    for rule in rules:
        rows = findings[rule.number].rows
        if rule.type in UNIQUE:
            shared = frame.loc[[row for row in rows if row not in bad], list(rule.columns)]
            rows = shared.index[shared.duplicated()].tolist()
        bad.update(rows)
    return bad, len(rules)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started
