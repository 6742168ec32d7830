"""A source with every kind of dirt: each row ends up where it belongs, under its reason, and none is lost."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.pipeline import run_step
from tasks.core.settings import settings
from tasks.core.store import open_store
from tasks.data.quarantine import read_quarantine
from tests import dirt

SOURCES: list[tuple[dict[str, Any], Callable[[Path], Counter[str]], dict[str, Any]]] = [
    (dirt.IMAGES, dirt.write_images, dirt.WIDTH_RULE),
    (dirt.TABLE, dirt.write_table, dirt.SIZE_RULE),
]


@pytest.fixture
def projects(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path / "projects"))
    settings.cache_clear()
    return tmp_path / "projects"


@pytest.mark.parametrize(("spec", "write", "rule"), SOURCES, ids=["images", "table"])
def test_every_fault_is_quarantined_under_its_reason(
    projects: Path, tmp_path: Path, spec: dict[str, Any], write: Callable[[Path], Counter[str]], rule: dict[str, Any]
) -> None:
    expected = write(tmp_path / "source")
    name = dirt.write_project(projects, spec, tmp_path / "source", rule)
    validated = _validate(name)
    clean = expected.pop("")
    assert Counter(validated.reasons) == expected
    rows = validated.rows
    assert (rows.received, rows.published, rows.quarantined) == (clean + expected.total(), clean, expected.total())
    rejected = read_quarantine(open_store(settings().store_uri), name, dirt.DAY)
    assert Counter(item.reason for item in rejected) == expected
    assert all(item.rule and item.replay and "row_id" in item.row for item in rejected)


@pytest.mark.parametrize(
    ("header", "size", "reason", "told"),
    [
        ("id,label,event_time,town", None, "column_removed", "size"),
        ("id,label,event_time,size,town", "large", "column_retyped", "size"),
    ],
)
def test_a_column_that_is_gone_or_another_fails_the_partition_by_name(
    projects: Path, tmp_path: Path, header: str, size: str | None, reason: str, told: str
) -> None:
    drop = tmp_path / "source" / f"date={dirt.DAY}"
    drop.mkdir(parents=True)
    lines = [",".join(filter(None, (f"r{n}", "dark", dirt.NOON, size, "Ulm"))) for n in range(30)]
    (drop / "rows.csv").write_text("\n".join([header, *lines]) + "\n")
    name = dirt.write_project(projects, dirt.TABLE, tmp_path / "source", dirt.SIZE_RULE)
    with pytest.raises(Exception, match=reason) as caught:
        _validate(name)
    assert told in str(caught.value)
    assert len(read_quarantine(open_store(settings().store_uri), name, dirt.DAY)) == 30


def test_an_added_column_is_told_and_quarantines_only_where_the_spec_says_so(projects: Path, tmp_path: Path) -> None:
    drop = tmp_path / "source" / f"date={dirt.DAY}"
    drop.mkdir(parents=True)
    lines = [f"r{n},dark,{dirt.NOON},3,Ulm,x" for n in range(30)]
    (drop / "rows.csv").write_text("\n".join(["id,label,event_time,size,town,extra", *lines]) + "\n")
    name = dirt.write_project(projects, dirt.TABLE, tmp_path / "source", dirt.SIZE_RULE)
    assert _validate(name).rows.published == 30
    strict = {**dirt.TABLE, "validation": {"tolerated": 0.2, "added_columns": "quarantine"}}
    dirt.write_project(projects, strict, tmp_path / "source", dirt.SIZE_RULE)
    with pytest.raises(Exception, match=r"column_added.*extra|extra.*column_added"):
        _validate(name)


def _validate(name: str) -> Manifest:
    spec = load_project(name)
    ingested = run_step("ingest", spec.name, {}, partition=dirt.DAY)
    assert ingested.rows.received == ingested.rows.published
    assert json.loads(ingested.to_json())["rows"]["quarantined"] == 0
    return run_step("validate", spec.name, {"ingest": [ingested.path]}, partition=dirt.DAY)
