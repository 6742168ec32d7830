"""The transform stage, with real TensorFlow Transform on Beam's in-process runner."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_transform as tft

from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import BadInput
from tasks.core.layout import Layout, Slice
from tasks.core.settings import settings
from tasks.core.shards import SPLITS, Split, pack, read_split, write_split
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.features.transform import load
from tasks.runtime.extractors import names, widths
from tests.features.conftest import Platform, Row, some_rows
from tests.stages import load_stage, stage

pytestmark = pytest.mark.slow

CONSTANT = 0.3
"""Not exact in float32: its computed variance need not be zero."""


TABLE = {
    "task": "tabular_classification",
    "image": None,
    "model": {"family": "mlp"},
    "source": {
        "uri": "landing/toy",
        "format": "table",
        "columns": [{"name": "tone", "type": "category"}, {"name": "note", "type": "text"}],
    },
    "features": [{"kind": "categorical", "name": "colour", "columns": ["tone"]}, {"kind": "text", "column": "note"}],
}


def _rows(count: int = 500) -> list[Row]:
    """Statistics around 5 with a constant third column, on top of HOG values in [0, 1)."""
    rng = np.random.default_rng(1)
    stats = rng.normal(5, 2, (count, 5)).astype(np.float32)
    stats[:, 2] = CONSTANT
    return [
        Row(r.entity, minute=r.minute, label=r.label, seed=r.seed, features={"image_stats": stats[n]})
        for n, r in enumerate(some_rows(count))
    ]


def _transformed(platform: Platform) -> tuple[Manifest, Manifest]:
    dataset = platform.dataset(platform.materialize(_rows()))
    return dataset, platform.run("tasks.features.transform:transform", {"dataset": [dataset]})


@pytest.fixture(scope="module")
def made(new_platform: Callable[[], Platform]) -> tuple[Platform, Manifest, Manifest]:
    """A platform with the manifests of a dataset and its transform."""
    platform = new_platform()
    return platform, *_transformed(platform)


def _split(made: tuple[Platform, Manifest, Manifest], name: str) -> tuple[Split, np.ndarray]:
    platform, dataset, transform = made
    return read_split(platform.path(dataset), name), np.load(platform.path(transform, f"{name}.npy"))


def test_the_training_split_has_zero_mean_and_unit_deviation(made: tuple[Platform, Manifest, Manifest]) -> None:
    _, matrix = _split(made, "train")
    varying = np.delete(matrix, 2, axis=1)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(varying.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(varying.std(axis=0), 1, atol=1e-4)


def test_only_the_training_split_is_fitted(made: tuple[Platform, Manifest, Manifest]) -> None:
    raw, _ = _split(made, "train")
    split, matrix = _split(made, "test")
    train, test = (np.concatenate([s.features["image_stats"], s.features["hog"]], axis=1) for s in (raw, split))
    expected = (test - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(np.delete(matrix, 2, axis=1), np.delete(expected, 2, axis=1), atol=1e-4)
    assert abs(matrix.mean(axis=0)).max() > 1e-3


def test_a_constant_column_stays_small_even_when_it_moves(made: tuple[Platform, Manifest, Manifest]) -> None:
    platform, _, transform = made
    _, matrix = _split(made, "train")
    np.testing.assert_allclose(matrix[:, 2], 0, atol=1e-5)
    moved = {"image_stats": np.full((1, 5), CONSTANT + 0.5, np.float32), "hog": np.zeros((1, 36), np.float32)}
    run, *_ = load(platform.path(transform, "transform_fn"))
    assert run(moved)[0, 2] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("name", SPLITS)
def test_one_row_at_a_time_gives_what_training_saw(made: tuple[Platform, Manifest, Manifest], name: str) -> None:
    platform, _, transform = made
    split, matrix = _split(made, name)
    run, *_ = load(platform.path(transform, "transform_fn"))
    rows = [run({kind: values[n : n + 1] for kind, values in split.features.items()})[0] for n in range(len(split))]
    assert np.array_equal(np.stack(rows), matrix)


def test_the_artifact_tells_its_inputs(made: tuple[Platform, Manifest, Manifest]) -> None:
    platform, _, transform = made
    described = json.loads(platform.path(transform, "transform.json").read_text())
    assert described["inputs"] == {"image_stats": 5, "hog": 36} == widths(platform.spec.features, platform.spec.image)
    raw = names(platform.spec.features, platform.spec.image)
    assert described["names"] == [f"{group}.{name}" for group, dimensions in raw.items() for name in dimensions]
    layout = Layout.read(platform.path(transform, "transform.json").parent)
    assert [(each.name, each.kind, each.start, each.stop) for each in layout.slices] == [
        ("image_stats", "number", 0, 5),
        ("hog", "number", 5, 41),
    ]
    output = tft.TFTransformOutput(str(platform.path(transform, "transform_fn")))
    assert {name: spec.shape for name, spec in output.raw_feature_spec().items()} == {"image_stats": [5], "hog": [36]}
    assert output.transformed_feature_spec()["features"].shape == [41]


def test_another_home_gives_the_same_numbers(
    made: tuple[Platform, Manifest, Manifest], new_platform: Callable[[], Platform]
) -> None:
    platform, _, transform = made
    other = new_platform()
    _, again = _transformed(other)
    assert again.key == transform.key
    for name in SPLITS:
        one, two = platform.path(transform, f"{name}.npy"), other.path(again, f"{name}.npy")
        assert one.read_bytes() == two.read_bytes()


def test_more_components_than_dimensions_are_bad_input(made: tuple[Platform, Manifest, Manifest]) -> None:
    platform, dataset, _ = made
    spec = replace(
        platform.spec, {"features": [{"kind": "image_stats", "normalize": {"kind": "pca", "components": 6}}]}
    )
    with pytest.raises(BadInput, match="image_stats: 6 principal components of 5 dimensions"):
        platform.run("tasks.features.transform:transform", {"dataset": [dataset]}, spec=spec)


def test_texts_and_categories_of_a_table_go_through(new_platform: Callable[[], Platform]) -> None:
    platform = new_platform()
    spec = Project.model_validate({**platform.spec.model_dump(mode="json"), **TABLE})
    words, colours = np.array(["good fox", "bad dog", "", "no"], object), np.array(["red", "blue", ""], object)
    splits = {name: {"colour": colours[:, None], "text": words[:3, None]} for name in SPLITS}
    splits["test"] = {"colour": np.array([["never seen"]], object), "text": words[3:, None]}

    @stage("dataset")
    def given(ctx: Context) -> Outcome:
        for name, groups in splits.items():
            count = len(groups["text"])
            blank = [""] * count
            write_split(ctx.out, name, pack(None, groups, np.zeros(count), blank, blank, np.zeros(count, "M8[us]")))
        return Outcome()

    dataset = platform.run(given, {}, spec=spec)
    transform = platform.run("tasks.features.transform:transform", {"dataset": [dataset]}, spec=spec)
    described = json.loads(platform.path(transform, "transform.json").read_text())
    assert described["inputs"] == {"colour": 1, "text": 1}
    assert described["names"] == [
        *("colour.tone=", "colour.tone=blue", "colour.tone=red", "colour.tone (other)"),
        *("text.note=bad", "text.note=dog", "text.note=fox", "text.note=good"),
    ]
    train, test = (np.load(platform.path(transform, f"{name}.npy")) for name in ("train", "test"))
    assert train[:, :4].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(train[:, 4:], np.sqrt([[0, 0, 0.5, 0.5], [0.5, 0.5, 0, 0], [0, 0, 0, 0]]), rtol=1e-6)
    assert test.tolist() == [[0, 0, 0, 1, 0, 0, 0, 0]]
    layout = Layout.read(platform.path(transform, "transform.json").parent)
    assert layout.slices == (Slice("colour.tone", "category", 0, 4), Slice("text", "number", 4, 8))


def test_wide_outputs_are_written_in_smaller_steps(
    made: tuple[Platform, Manifest, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, dataset, transform = made
    monkeypatch.setattr("tasks.features.transform.BATCH_VALUES", 41 * 7)
    forced = execute(
        load_stage("tasks.features.transform:transform"),
        platform.spec,
        {"dataset": [dataset]},
        store=platform.store,
        registry=platform.registry,
        run_id="again",
        force=True,
    )
    assert forced.key != transform.key
    one, two = (np.load(platform.path(manifest, "train.npy")) for manifest in (transform, forced))
    assert np.array_equal(one, two)


def test_beam_leaves_nothing_behind(
    new_platform: Callable[[], Platform], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = new_platform()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _transformed(platform)
    assert not list(tmp_path.iterdir())
    assert not list((settings().home / "work").iterdir())
    assert not multiprocessing.active_children()
