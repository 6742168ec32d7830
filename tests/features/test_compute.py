"""Feature computation: the extractors' own numbers, sorted by entity, known when the day has ended."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.artifacts import Manifest, Rows
from tasks.core.config import replace
from tasks.core.errors import BadInput
from tasks.core.stages import Context, Outcome, stage
from tasks.data.ingest import SCHEMA
from tasks.runtime.extractors import extract, widths
from tests.features.conftest import Platform, Row, png, uri

DAY = "2026-01-01"


def compute(platform: Platform, rows: Sequence[Row], **options: object) -> Manifest:
    """The features of rows that validation would have let pass."""
    for row in rows:
        platform.store.write_bytes(uri(row), png(row.pixels))

    @stage("validate", outside=lambda _: {"rows": repr(rows)})
    def clean(ctx: Context) -> Outcome:
        fields = [
            {"row_id": n, "entity": row.entity, "event_time": row.event_time, "label": row.label, "uri": uri(row)}
            for n, row in enumerate(rows)
        ]
        pq.write_table(pa.Table.from_pylist(fields, SCHEMA).drop_columns("defect"), ctx.out / "rows.parquet")
        return Outcome(Rows(received=len(rows), published=len(rows)))

    inputs = {"validate": [platform.run(clean, {}, DAY)]}
    return platform.run("tasks.features.compute:features", inputs, DAY, **options)


def read(platform: Platform, manifest: Manifest) -> pa.Table:
    return pq.read_table(platform.path(manifest, "features.parquet"))


ROWS = [Row("b", minute=5, label="b", seed=1), Row("a", minute=9, seed=2), Row("c", seed=3)]


def test_each_row_has_the_numbers_that_serving_would_compute(platform: Platform) -> None:
    found = read(platform, compute(platform, ROWS)).to_pylist()
    assert [row["entity"] for row in found] == ["a", "b", "c"]
    for row, given in zip(found, sorted(ROWS, key=lambda row: row.entity), strict=True):
        for kind, vector in extract(given.pixels[:, :, None], platform.spec.features).items():
            assert np.array_equal(np.array(row[kind], np.float32), vector)
        assert (row["label"], row["uri"], row["event_time"]) == (given.label, uri(given), given.event_time)
        assert row["known_at"] == datetime(2026, 1, 2, tzinfo=UTC)


def test_columns_are_those_that_later_stages_expect(platform: Platform) -> None:
    schema = read(platform, compute(platform, ROWS)).schema
    stamp = pa.timestamp("us", "UTC")
    assert [(field.name, field.type) for field in schema] == [
        ("entity", pa.string()),
        ("event_time", stamp),
        ("known_at", stamp),
        ("label", pa.string()),
        ("uri", pa.string()),
        *((feature.kind, pa.list_(pa.float32())) for feature in platform.spec.features),
    ]


def test_the_order_of_rows_in_does_not_change_the_bytes_out(platform: Platform) -> None:
    there, back = compute(platform, ROWS), compute(platform, ROWS[::-1])
    assert there.key != back.key
    assert there.digest == back.digest


def test_no_rows_make_an_empty_table_of_the_same_columns(platform: Platform) -> None:
    empty, full = read(platform, compute(platform, [])), read(platform, compute(platform, ROWS))
    assert empty.num_rows == 0
    assert empty.schema == full.schema


def test_vectors_have_the_width_that_others_plan_with(platform: Platform) -> None:
    table = read(platform, compute(platform, ROWS))
    for kind, width in widths(platform.spec.features, platform.spec.image).items():
        assert {len(vector) for vector in table[kind].to_pylist()} == {width}


def test_an_image_too_small_for_an_extractor_is_bad_input(platform: Platform) -> None:
    spec = replace(platform.spec, {"image.height": 3})
    with pytest.raises(BadInput, match="hog"):
        compute(platform, ROWS, spec=spec)
