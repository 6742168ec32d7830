"""Explanations from the package alone: they add up, point at what counts, and can be sent as JSON."""

import json
from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from tasks.core.errors import BadInput
from tasks.core.spec import Column
from tasks.runtime.baseline import BASELINE, Baseline, summarize
from tasks.runtime.explanation import GRID, explain, heatmap
from tasks.runtime.instances import BadRow
from tasks.runtime.predictor import Predictor, Signature
from tasks.runtime.typical import typical_row
from tests import packages

Graph = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def bright(values: np.ndarray) -> np.ndarray:
    """Probabilities of ``dark`` and ``bright``, (N, 2)."""
    return np.stack([1 - values, values], axis=1).astype(np.float32)


def of_images(graph: Graph, side: int = 32, channels: int = 1) -> Predictor:
    """A package of images that answers with ``graph``."""
    described = packages.project("tiny")
    image = described.image.model_copy(update={"height": side, "width": side, "channels": channels})
    return Predictor(_signature(image=image, features=described.features), graph, {})


def of_rows(graph: Graph, columns: Mapping[str, str], features: list[dict[str, Any]]) -> Predictor:
    """A package of rows that answers with ``graph``; each column to its type."""
    listed = [Column(name=name, type=kind, nullable=True) for name, kind in columns.items()]
    return Predictor(_signature(columns=listed, features=features), graph, {})


def _signature(**fields: Any) -> Signature:
    limits = {"top_k": 2, "max_body_kib": 64, "max_pixels": 4096}
    return Signature(project="tiny", build="test", classes=packages.CLASSES, **limits, **fields)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Predictor, Baseline]]:
    """The tiny package of a project, and its baseline."""

    def load(name: str) -> tuple[Predictor, Baseline]:
        folder: Path = tmp_path_factory.mktemp(name)
        packages.write_package(folder, name=name)
        return Predictor.load(folder), Baseline.model_validate_json((folder / BASELINE).read_bytes())

    return load


def test_the_place_that_the_model_reads_is_found() -> None:
    def corner(given: Mapping[str, np.ndarray]) -> np.ndarray:
        return bright(given["image"][:, :8, 24:].mean(axis=(1, 2, 3)) / 255)

    predictor, image = of_images(corner), np.zeros((1, 32, 32, 1), np.uint8)
    image[:, :8, 24:] = 255
    found = explain(predictor, predictor.prepare_pixels(image), "bright")
    assert json.loads(json.dumps(found)) == found
    assert (found["method"], found["label"], found["probability"]) == ("occlusion", "bright", 1)
    grid = np.array(found["grid"])
    assert grid.shape == (GRID, GRID)
    assert (grid[:2, 6:] > 0.3).all() and (grid[4:] == 0).all() and (grid[:, :4] == 0).all()
    against = explain(predictor, predictor.prepare_pixels(image), "dark")
    np.testing.assert_allclose(against["grid"], -grid, atol=1e-6)


def test_features_are_computed_from_the_covered_image(served: Callable) -> None:
    predictor, _ = served("tiny")
    pixels = np.zeros((1, 8, 8, 1), np.uint8)
    pixels[0, 2:4, 2:4] = 255
    found = explain(predictor, predictor.prepare_pixels(pixels), "bright")
    grid = np.array(found["grid"])
    assert grid[2:4, 2:4].min() > 0, "covering the ink makes it darker"
    assert grid[6:, 6:].max() < 0, "covering black with the mean makes it brighter"


@pytest.mark.parametrize(("height", "width"), [(3, 20), (1, 1), (40, 9)])
def test_small_and_narrow_images_have_smaller_grids(height: int, width: int) -> None:
    predictor = of_images(lambda given: bright(given["image"].mean(axis=(1, 2, 3)) / 255))
    pixels = np.full((1, height, width, 1), 9, np.uint8)
    assert np.shape(explain(predictor, predictor.prepare_pixels(pixels))["grid"]) == (min(8, height), min(8, width))


def test_the_heatmap_is_red_for_and_blue_against() -> None:
    grid = np.zeros((8, 8))
    grid[0, 0], grid[7, 7] = 1, -1
    for channels in (1, 3):
        data = heatmap(np.full((32, 48, channels), 128, np.uint8), grid.tolist())
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
        assert picture.shape == (256, 384, 3)
        assert picture[0, 0, 0] - picture[0, 0, 2] > 50 and picture[-1, -1, 2] - picture[-1, -1, 0] > 50
        assert (picture[120:130, 180:190] == 128).all()


ROWS = st.fixed_dictionaries({"age": st.floats(0, 100), "member": st.none() | st.booleans()})


@example_settings(max_examples=30)
@given(row=ROWS)
def test_contributions_add_up(served: Callable, row: dict[str, Any]) -> None:
    predictor, baseline = CACHE.setdefault("people", served("people"))
    for known in (baseline, None):
        found = explain(predictor, row, "bright", known)
        assert json.loads(json.dumps(found)) == found
        parts = sum(part["contribution"] for part in found["contributions"])
        assert parts == pytest.approx(found["probability"] - found["typical"], abs=1e-5)


CACHE: dict[str, tuple[Predictor, Baseline]] = {}


def test_of_a_linear_regression_a_column_adds_its_weight_times_its_distance_from_the_median(served: Callable) -> None:
    predictor, baseline = served("prices")
    found = explain(predictor, {"age": 70, "member": True}, baseline=baseline)
    (age,) = found["contributions"]
    assert found["value"] == 560 and "label" not in found
    assert age["contribution"] == pytest.approx(8 * (70 - age["typical"]), rel=1e-5)
    assert age["typical"] == pytest.approx(50, abs=1)


def test_interactions_are_shared_as_shapley_shares_them() -> None:
    """Against the mean over all orders of four columns, two of which only count together."""

    def value(x: np.ndarray) -> np.ndarray:
        return 0.5 * x[:, 0] * x[:, 1] + 0.2 * x[:, 2] - 0.1 * x[:, 3] * x[:, 0] + 0.2

    names = ["a", "b", "c", "d"]
    predictor = of_rows(
        lambda given: bright(value(np.nan_to_num(given["numeric"]))),
        dict.fromkeys(names, "number"),
        [{"kind": "numeric", "columns": names}],
    )
    found = explain(predictor, dict.fromkeys(names, 1), "bright")
    expected = np.zeros(4)
    for order in permutations(range(4)):
        present = np.zeros((5, 4))
        for step, column in enumerate(order):
            present[step + 1 :, column] = 1
        expected[list(order)] += np.diff(value(present)) / 24
    shares = {part["column"]: part["contribution"] for part in found["contributions"]}
    np.testing.assert_allclose([shares[name] for name in names], expected, atol=0.06)
    assert [part["column"] for part in found["contributions"]] == sorted(names, key=lambda name: -abs(shares[name]))


def test_many_columns_are_no_more_work_than_some() -> None:
    names, asked = [f"c{n}" for n in range(300)], []

    def graph(given: Mapping[str, np.ndarray]) -> np.ndarray:
        asked.append(len(given["numeric"]))
        return bright(np.nan_to_num(given["numeric"]).mean(axis=1))

    predictor = of_rows(graph, dict.fromkeys(names, "number"), [{"kind": "numeric", "columns": names}])
    found = explain(predictor, dict.fromkeys(names, 1), "bright")
    assert sum(asked) < 700
    assert {part["contribution"] for part in found["contributions"]} == {round(1 / 300, 6)}


def test_the_words_that_count_are_found() -> None:
    def graph(given: Mapping[str, np.ndarray]) -> np.ndarray:
        return bright(np.array([0.1 + 0.8 * ("sunny" in text.split()) for (text,) in given["text"]]))

    predictor = of_rows(graph, {"said": "text", "unused": "text"}, [{"kind": "text", "column": "said"}])
    found = explain(predictor, {"said": "a sunny day", "unused": "sunny"}, "bright")
    assert found["words"] == {
        "said": [
            {"word": "a", "contribution": 0},
            {"word": "sunny", "contribution": 0.8},
            {"word": "day", "contribution": 0},
        ]
    }
    assert [part["column"] for part in found["contributions"]] == ["said"]
    assert "words" not in explain(predictor, {"said": None})


def test_the_likeliest_label_is_explained_unless_another_is_named(served: Callable) -> None:
    predictor, baseline = served("people")
    row = {"age": 80}
    likeliest, other = explain(predictor, row, None, baseline), explain(predictor, row, "dark", baseline)
    assert (likeliest["label"], other["label"]) == ("bright", "dark")
    assert likeliest["probability"] + other["probability"] == pytest.approx(1)
    with pytest.raises(BadInput, match="no class 'grey'"):
        explain(predictor, row, "grey", baseline)
    with pytest.raises(BadRow, match="age is missing"):
        explain(predictor, {}, None, baseline)


def test_the_typical_row_is_of_medians_and_most_frequent_values() -> None:
    columns = {"age": "number", "sky": "category", "open": "boolean", "said": "text", "odd": "number"}
    features = [
        {"kind": "numeric", "columns": ["age", "open", "odd"]},
        {"kind": "categorical", "columns": ["sky"]},
        {"kind": "text", "column": "said"},
    ]
    predictor = of_rows(lambda given: bright(np.zeros(1)), columns, features)
    numbers = np.array([[n, n % 3 > 0, np.nan] for n in range(101)], np.float32)
    skies = np.array([["sun" if n % 3 else "rain"] for n in range(101)], object)
    described = {"numeric": ("age", "open", "odd"), "categorical": ("sky",)}
    baseline = summarize({"numeric": numbers, "categorical": skies}, described)
    expected = {"age": 50, "sky": "sun", "open": True, "said": None, "odd": None}
    assert typical_row(predictor.signature, baseline) == expected
    assert typical_row(predictor.signature, None) == dict.fromkeys(columns)
