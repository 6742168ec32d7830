"""The transform stage, with real TensorFlow Transform on Beam's in-process runner."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_transform as tft

from tasks.core.artifacts import Manifest
from tasks.core.settings import settings
from tasks.core.shards import SPLITS, Split, read_split
from tasks.features.transform import load
from tasks.runtime.extractors import widths
from tests.features.conftest import Platform, Row, some_rows

pytestmark = pytest.mark.slow

CONSTANT = 0.3
"""Not exact in float32: its computed variance need not be zero."""


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
    assert load(platform.path(transform, "transform_fn"))(moved)[0, 2] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("name", SPLITS)
def test_one_row_at_a_time_gives_what_training_saw(made: tuple[Platform, Manifest, Manifest], name: str) -> None:
    platform, _, transform = made
    split, matrix = _split(made, name)
    run = load(platform.path(transform, "transform_fn"))
    rows = [run({kind: values[n : n + 1] for kind, values in split.features.items()})[0] for n in range(len(split))]
    assert np.array_equal(np.stack(rows), matrix)


def test_the_artifact_tells_its_inputs(made: tuple[Platform, Manifest, Manifest]) -> None:
    platform, _, transform = made
    described = json.loads(platform.path(transform, "transform.json").read_text())
    assert described == {"inputs": {"image_stats": 5, "hog": 36}, "width": 41}
    assert described["inputs"] == widths(platform.spec.features, platform.spec.image)
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


def test_beam_leaves_nothing_behind(
    new_platform: Callable[[], Platform], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = new_platform()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _transformed(platform)
    assert not list(tmp_path.iterdir())
    assert not list((settings().home / "work").iterdir())
    assert not multiprocessing.active_children()
