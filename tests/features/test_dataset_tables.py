"""The dataset stage over tables and texts: no images, strings, missing numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tasks.core.errors import UpdraftError
from tasks.core.shards import SPLITS, read_split
from tasks.core.spec import Project
from tests.features.conftest import TABLE, Platform, Row, some_rows
from tests.features.test_dataset import rows_of


def test_a_table_has_strings_and_missing_numbers_and_no_images(platform: Platform) -> None:
    spec = Project.model_validate(TABLE)
    rows = {
        row.entity: Row(row.entity, minute=row.minute, label=row.label, seed=row.seed, features=values)
        for row in some_rows(40)
        for values in [{"numeric": [float("nan") if row.seed % 7 == 0 else row.seed / 2], "shops": [f"ü{row.seed}"]}]
    }
    infinite = Row("endless", seed=99, features={"numeric": [float("inf")], "shops": ["x"]})
    part = platform.materialize([*rows.values(), infinite], spec=spec)
    manifest = platform.run("tasks.features.dataset:dataset", {"materialize": [part]}, spec=spec)
    assert manifest.reasons == {"non_finite_features": 1} and manifest.rows.published == 40
    for name in SPLITS:
        split = read_split(platform.path(manifest), name)
        assert split.images is None and split.rows is not None
        assert split.features["shops"].dtype == object and split.features["numeric"].dtype == np.float32
        for number, entity in enumerate(split.entities):
            row = rows.pop(entity)
            assert json.loads(split.rows[number]) == {"seed": row.seed}
            assert split.features["shops"][number].tolist() == row.features["shops"]
            assert np.array_equal(split.features["numeric"][number], row.features["numeric"], equal_nan=True)
    assert not rows


def test_the_same_text_stands_in_one_split(platform: Platform) -> None:
    columns = [{"name": "said", "type": "text"}]
    source = {**TABLE["source"], "columns": columns}
    text = {**TABLE, "task": "text_classification", "source": source, "features": [{"kind": "text", "column": "said"}]}
    spec = Project.model_validate(text)
    rows = [
        Row(row.entity, minute=row.minute, label=row.label, seed=row.seed, features={"text": [words]})
        for row in some_rows(60)
        for words in [f"Word {row.seed // 3}" if row.seed % 3 else f" word\n{row.seed // 3}"]
    ]
    part = platform.materialize(rows, spec=spec)
    found = rows_of(platform, platform.run("tasks.features.dataset:dataset", {"materialize": [part]}, spec=spec))
    texts = found.assign(text=found["entity"].str[1:].astype(int) // 3).groupby("text")
    assert len(found) == 60 and (texts["split"].nunique() == 1).all() and (texts.size() == 3).all()


REGRESSION = {**TABLE, "task": "tabular_regression", "classes": (), "gates": [{"metric": "r2", "min": 0.5}]}


def test_a_regressions_labels_are_numbers_in_single_precision(platform: Platform) -> None:
    spec = Project.model_validate(REGRESSION)
    rows = [Row(row.entity, minute=row.minute, label=str(row.seed / 3), seed=row.seed) for row in some_rows(40)]
    rows = [replace(row, features={"shops": ["x"]}) for row in rows]
    part = platform.materialize(rows, spec=spec)
    manifest = platform.run("tasks.features.dataset:dataset", {"materialize": [part]}, spec=spec)
    expected = {row.entity: np.float32(row.seed / 3) for row in rows}
    for name in SPLITS:
        split = read_split(platform.path(manifest), name)
        assert split.labels.dtype == np.float32
        assert split.labels.tolist() == [expected.pop(entity) for entity in split.entities]
    assert not expected


def test_a_label_that_is_no_number_is_named(platform: Platform) -> None:
    spec = Project.model_validate(REGRESSION)
    part = platform.materialize([replace(row, features={"shops": ["x"]}) for row in some_rows(40)], spec=spec)
    with pytest.raises(UpdraftError, match="labels a, b are no numbers") as caught:
        platform.run("tasks.features.dataset:dataset", {"materialize": [part]}, spec=spec)
    assert caught.value.fix.startswith("Backfill toy_features")
