"""Feature computation: the extractors' own numbers, sorted by entity, with the times at which they were known."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.artifacts import Manifest, Rows
from tasks.core.config import replace
from tasks.core.errors import BadInput
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome
from tasks.features import compute
from tasks.runtime.extractors import extract, widths
from tasks.runtime.rows import STAMP, TYPES, parse
from tasks.runtime.table_features import extract_table
from tests.features.conftest import Platform, Row, png, some_rows, uri
from tests.stages import stage

DAY = "2026-01-01"
ROWS = [Row("b", minute=5, label="b", seed=1), Row("a", minute=9, seed=2, late=7), Row("c", seed=3, image_hash=-5)]

TABLE = {
    "task": "tabular_classification",
    "image": None,
    "model": {"family": "mlp"},
    "source": {
        "uri": "landing/toy",
        "format": "table",
        "columns": [
            {"name": "price", "type": "number", "nullable": True},
            {"name": "colour", "type": "category", "nullable": True},
            {"name": "at", "type": "time", "nullable": True},
            {"name": "note", "type": "text", "nullable": True},
            {"name": "sold", "type": "boolean", "nullable": True},
        ],
    },
    "features": [
        {"kind": "numeric", "columns": ["price", "sold"]},
        {"kind": "categorical", "columns": ["colour"]},
        {"kind": "date_parts", "columns": ["at"]},
        {"kind": "text", "column": "note"},
    ],
}

GIVEN: dict[str, list[Any]] = {
    "price": [1.5, None, 3.0],
    "colour": ["rød", "", None],
    "at": ["2026-01-01T10:00:00.25Z", None, "2025-12-31"],
    "note": ['He said "no"', "Ω 🌳", None],
    "sold": [True, None, False],
}


def features_of(platform: Platform, clean: pa.Table, spec: Project | None = None) -> Manifest:
    """The features of rows that validation would have let pass."""

    @stage("validate", outside=lambda _: {"rows": repr(clean.to_pylist())})
    def validate(ctx: Context) -> Outcome:
        pq.write_table(clean, ctx.out / "rows.parquet")
        return Outcome(Rows(received=clean.num_rows, published=clean.num_rows))

    inputs = {"validate": [platform.run(validate, {}, DAY)]}
    return platform.run("tasks.features.compute:features", inputs, DAY, spec)


def clean(rows: Sequence[Row]) -> dict[str, pa.Array]:
    """The columns that every format has."""
    text = {name: [getattr(row, name) for row in rows] for name in ("entity", "label", "digest")}
    known = [row.known_at if row.late else None for row in rows]
    return {
        "row_id": pa.array(range(len(rows)), pa.int64()),
        **{name: pa.array(values, pa.string()) for name, values in text.items()},
        "event_time": pa.array([row.event_time for row in rows], STAMP),
        "known_time": pa.array(known, STAMP),
        "uri": pa.array([uri(row) for row in rows], pa.string()),
    }


def of_images(platform: Platform, rows: Sequence[Row], spec: Project | None = None) -> Manifest:
    for row in rows:
        platform.store.write_bytes(uri(row), png(row.pixels))
    hashes = pa.array([row.image_hash for row in rows], pa.int64())
    return features_of(platform, pa.table({**clean(rows), "image_hash": hashes}), spec)


def read(platform: Platform, manifest: Manifest) -> pa.Table:
    return pq.read_table(platform.path(manifest, "features.parquet"))


@pytest.fixture
def table_spec(spec: Project) -> Project:
    return Project.model_validate({**spec.model_dump(mode="json"), **TABLE})


def test_each_image_has_the_numbers_that_serving_would_compute(platform: Platform) -> None:
    found = read(platform, of_images(platform, ROWS)).to_pylist()
    assert [row["entity"] for row in found] == ["a", "b", "c"]
    for row, given in zip(found, sorted(ROWS, key=lambda row: row.entity), strict=True):
        for group, vector in extract(given.pixels[:, :, None], platform.spec.features).items():
            assert np.array_equal(np.array(row[group], np.float32), vector)
        assert (row["label"], row["uri"], row["event_time"]) == (given.label, uri(given), given.event_time)
        assert (row["digest"], row["image_hash"], row["row"]) == (given.digest, given.image_hash, None)


def test_a_value_is_known_when_the_source_says_or_at_its_event(platform: Platform) -> None:
    found = {row["entity"]: row for row in read(platform, of_images(platform, ROWS)).to_pylist()}
    assert found["a"]["known_at"] == found["a"]["event_time"] + timedelta(minutes=7)
    assert found["b"]["known_at"] == found["b"]["event_time"]
    assert {row["created_at"] for row in found.values()} == {datetime(2026, 1, 2, tzinfo=UTC)}


def test_columns_are_those_that_later_stages_expect(platform: Platform, table_spec: Project) -> None:
    text, floats, strings = pa.string(), pa.list_(pa.float32()), pa.list_(pa.string())
    fixed = [
        *(("entity", text), ("event_time", STAMP), ("known_at", STAMP), ("created_at", STAMP), ("label", text)),
        *(("digest", text), ("uri", text), ("image_hash", pa.int64()), ("row", text)),
    ]
    images = read(platform, of_images(platform, ROWS)).schema
    assert [(f.name, f.type) for f in images] == [*fixed, ("image_stats", floats), ("hog", floats)]
    rows = read(platform, of_table(platform, table_spec)).schema
    groups = [("numeric", floats), ("categorical", strings), ("date_parts", floats), ("text", strings)]
    assert [(f.name, f.type) for f in rows] == [*fixed, *groups]


def of_table(platform: Platform, spec: Project) -> Manifest:
    typed = {column.name: parse(GIVEN[column.name], column.type)[0] for column in spec.source.columns}
    return features_of(platform, pa.table({**clean(ROWS), **typed}), spec)


def test_each_row_of_a_table_has_the_values_that_serving_would_compute(platform: Platform, table_spec: Project) -> None:
    found = read(platform, of_table(platform, table_spec))
    assert found["entity"].to_pylist() == ["a", "b", "c"]
    # What the endpoint does with a row: JSON, typed by the spec, described by the extractors.
    rows = [json.loads(text) for text in found["row"].to_pylist()]
    columns = {c.name: parse([row[c.name] for row in rows], c.type)[0] for c in table_spec.source.columns}
    for group, values in extract_table(columns, table_spec.features).items():
        kept = np.array(found[group].to_pylist(), values.dtype)
        np.testing.assert_array_equal(kept, values)
    assert found["categorical"].to_pylist() == [[""], ["rød"], [""]]


def test_the_row_keeps_its_values_as_they_are(platform: Platform, table_spec: Project) -> None:
    found = read(platform, of_table(platform, table_spec)).sort_by("uri")
    rows = [json.loads(text) for text in found["row"].to_pylist()]
    for column in table_spec.source.columns:
        array, wrong = parse([row[column.name] for row in rows], column.type)
        assert not wrong.any()
        assert array.equals(parse(GIVEN[column.name], column.type)[0])
        assert array.type == TYPES[column.type]


def test_the_order_of_rows_in_does_not_change_the_bytes_out(platform: Platform) -> None:
    there, back = of_images(platform, ROWS), of_images(platform, ROWS[::-1])
    assert there.key != back.key
    assert there.digest == back.digest


def test_an_entity_with_several_events_is_sorted_by_their_time(platform: Platform) -> None:
    rows = [Row("a", minute=minute, seed=minute) for minute in (30, 10, 20)]
    found = read(platform, of_images(platform, rows))
    assert found["event_time"].to_pylist() == sorted(row.event_time for row in rows)


def test_no_rows_make_an_empty_table_of_the_same_columns(platform: Platform) -> None:
    empty, full = read(platform, of_images(platform, [])), read(platform, of_images(platform, ROWS))
    assert empty.num_rows == 0
    assert empty.schema == full.schema


def test_rows_are_written_as_they_come(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "CHUNK", 8)
    manifest = of_images(platform, some_rows(20))
    file = pq.ParquetFile(platform.path(manifest, "features.parquet"))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [8, 8, 4]
    assert len(set(file.read()["entity"].to_pylist())) == 20


def test_vectors_have_the_width_that_others_plan_with(platform: Platform) -> None:
    table = read(platform, of_images(platform, ROWS))
    for group, width in widths(platform.spec.features, platform.spec.image).items():
        assert {len(vector) for vector in table[group].to_pylist()} == {width}


def test_an_image_too_small_for_an_extractor_is_bad_input(platform: Platform) -> None:
    spec = replace(platform.spec, {"image.height": 3})
    with pytest.raises(BadInput, match="hog"):
        of_images(platform, ROWS, spec)
