"""A project that predicts a number: what its labels become on the way through ingestion and validation."""

import pytest

from tasks.core.spec import Project
from tests.data.conftest import NOON, Source, png

TABLE = {
    "name": "houses",
    "task": "tabular_regression",
    "start": "2026-01-01",
    "features": [{"kind": "numeric", "columns": ["rooms"]}],
    "model": {"family": "mlp"},
    "gates": [{"metric": "r2", "min": 0.5}],
    "validation": {
        "tolerated": 1.0,
        "expectations": [
            {
                "type": "expect_column_values_to_be_between",
                "kwargs": {"column": "label", "min_value": 0, "max_value": 5000},
                "meta": {"reason": "price_out_of_range"},
            }
        ],
    },
}
IMAGES = {
    **TABLE,
    "task": "image_regression",
    "features": [{"kind": "image_stats"}],
    "image": {"height": 8, "width": 8, "channels": 1},
    "model": {"family": "convnet"},
}


@pytest.fixture
def houses(source: Source) -> Source:
    """A table with a price for a label."""
    given = {"uri": str(source.folder.parent), "format": "table", "label": "price"}
    columns = [{"name": "rooms", "type": "number"}]
    source.spec = Project.model_validate({**TABLE, "source": {**given, "columns": columns}})
    return source


def test_labels_are_numbers_and_what_is_none_is_quarantined(houses: Source) -> None:
    prices = ["151.5", " 7 ", "1e3", "-0.25", "9999", "high", "", "1e999", "1e39", "nan", "inf", "yes"]
    lines = [f"h{number},{price},{NOON},{number}" for number, price in enumerate(prices)]
    (houses.folder / "rows.csv").write_text("\n".join(["id,price,event_time,rooms", *lines]))
    ingested = houses.run("ingest")
    manifest = houses.run("validate", ingested)
    assert [row["label"] for row in houses.rows(manifest)] == [151.5, 7, 1000]
    assert manifest.reasons == {"bad_label": 6, "price_out_of_range": 2, "null_label": 1}
    details = {row["entity"]: row["detail"] for row in houses.rows(ingested)}
    assert details["h5"] == 'price: "high"' and details["h8"] == "price: 1e+39"


LABELS = {0: "3", 1: "2.5", 2: "true", 3: "[1]"}


def test_native_numbers_are_labels_and_booleans_are_not(houses: Source) -> None:
    lines = [f'{{"id": "h{n}", "price": {price}, "event_time": "{NOON}", "rooms": {n}}}' for n, price in LABELS.items()]
    (houses.folder / "rows.jsonl").write_text("\n".join(lines))
    manifest = houses.run("validate", houses.run("ingest"))
    assert [row["label"] for row in houses.rows(manifest)] == [3, 2.5]
    assert manifest.reasons == {"bad_label": 2}


def test_images_have_numbers_too(source: Source) -> None:
    source.spec = Project.model_validate({**IMAGES, "source": {"uri": str(source.folder.parent), "entity": "digit_id"}})
    rows = [["a", "0.png", "12.5", NOON], ["b", "1.png", "left", NOON]]
    source.write(rows, {f"{number}.png": png(number) for number in range(2)})
    manifest = source.run("validate", source.run("ingest"))
    assert [row["label"] for row in source.rows(manifest)] == [12.5]
    assert manifest.reasons == {"bad_label": 1}
