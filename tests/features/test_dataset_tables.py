"""The dataset stage over tables and texts: no images, strings, missing numbers."""

import json

import numpy as np

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
