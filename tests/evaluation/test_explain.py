"""Attributions add up and point at what counts; importance, neighbours, and what is shown of a candidate."""

import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import layers

from tasks.core.layout import Layout
from tasks.core.shards import Split
from tasks.core.spec import Project
from tasks.evaluation.attributions import grad_cam, integrated_gradients
from tasks.evaluation.examples import SHOWN, examples
from tasks.evaluation.explain import Candidate, explain
from tasks.evaluation.explain_pictures import draw_contributions
from tasks.evaluation.importance import permutation_importance
from tasks.evaluation.neighbours import NEAREST, nearest
from tasks.models import build_model
from tasks.models.ensemble import join
from tasks.runtime.predictor import Predictor
from tests import packages
from tests.looks import Looked, looked, untrained


@pytest.fixture(scope="module")
def net() -> Looked:
    return looked()


def output(model: keras.Model, pixels: np.ndarray, features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    found = np.asarray(model({"image": pixels, "features": features}, training=False))
    return found[np.arange(len(targets)), targets]


def test_integrated_gradients_add_up_to_what_the_image_changes(net: Looked) -> None:
    pixels, features, targets = net.test.images[:3], net.test_features[:3], net.test.labels[:3]
    change = output(net.model, pixels, features, targets) - output(net.model, 0 * pixels, features, targets)
    found = integrated_gradients(net.model, pixels, features, targets)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), change, atol=0.02 * np.abs(change).max())
    assert (found[pixels == 0] == 0).all(), "what is as in the black image adds nothing"


def test_of_a_linear_model_each_pixel_adds_its_weight_times_its_value() -> None:
    image, features = keras.Input((4, 4, 3), dtype="uint8", name="image"), keras.Input((1,), name="features")
    flat = layers.Flatten()(layers.Rescaling(1 / 255, dtype="float32")(image))
    model = keras.Model([image, features], layers.Dense(2)(layers.Concatenate()([flat, features])))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8)
    weights = model.get_weights()[0][:48, 1].reshape(4, 4, 3)
    found = integrated_gradients(model, pixels, np.ones((1, 1), np.float32), np.array([1]))
    np.testing.assert_allclose(found[0], weights * pixels[0] / 255, atol=1e-5)


def left_or_right() -> keras.Model:
    """Class 0 sees ink in the left half, class 1 in the right half, of 8x8 pixels."""
    image, features = keras.Input((8, 8, 1), dtype="uint8", name="image"), keras.Input((1,), name="features")
    maps = layers.Conv2D(2, 1, use_bias=False, name="seen")(layers.Rescaling(1 / 255, dtype="float32")(image))
    halves = layers.AveragePooling2D((8, 4))(maps)
    vector = layers.Concatenate()([layers.Flatten()(halves), features])
    head = layers.Dense(2, use_bias=False, name="logits")
    model = keras.Model([image, features], head(vector))
    model.get_layer("seen").set_weights([np.ones((1, 1, 1, 2), np.float32)])
    head.set_weights([np.array([[1, 0], [0, 0], [0, 0], [0, 1], [0, 0]], np.float32)])
    return model


def test_grad_cam_is_warm_where_the_ink_is_and_all_zero_where_nothing_speaks_for_the_class() -> None:
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    pixels[0, 2:5, 1:3] = pixels[1, 5:7, 6:8] = 255
    found = grad_cam(left_or_right(), pixels, np.zeros((2, 1), np.float32), np.array([0, 1]))
    assert found.shape == (2, 8, 8) and found.max() == 1 and found.min() >= 0
    assert (found[0, 2:5, 1:3] > 0.9).all() and found[0, :, 4:].max() == 0
    assert (found[1, 5:7, 6:8] > 0.9).all() and found[1, :, :4].max() == 0
    dark = grad_cam(left_or_right(), 0 * pixels, np.zeros((2, 1), np.float32), np.array([0, 1]))
    assert (dark == 0).all()


def test_grad_cam_needs_convolutions_and_joins_those_of_an_ensembles_members(net: Looked) -> None:
    given = net.test.images[:2], net.test_features[:2], net.test.labels[:2]
    for fields in ({"family": "mlp"}, {"family": "vit", "patch": 2, "width": 8, "heads": 2}):
        assert grad_cam(untrained(**fields)[1], *given) is None
    alone = grad_cam(net.model, *given)
    assert alone is not None and alone.max(axis=(1, 2)).tolist() == [1, 1]
    spec, copy = untrained(family="convnet", filters=[8, 16], units=[16], dropout=0.0)
    copy.set_weights(net.model.get_weights())
    _, other = untrained(family="mlp")
    np.testing.assert_allclose(grad_cam(join(spec, [copy, other]), *given), alone, atol=1e-5)


def people(count: int, seed: int = 0) -> Split:
    """Rows of the project ``people``, labelled as the package says: bright above 50; one in 25 is not."""
    rows = packages.people(count, seed)
    labels = np.array([(row["age"] > 50) != (n % 25 == 3) for n, row in enumerate(rows)], np.int32)
    values = {"numeric": np.array([[row["age"], 0] for row in rows], np.float32)}
    names, sent = [f"person-{n}" for n in range(count)], [json.dumps(row) for row in rows]
    return Split(None, values, labels, names, names, np.zeros(count, np.int32), sent)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("people")
    packages.write_package(folder, name="people")
    return Predictor.load(folder)


def log_loss(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(-np.log(predictions[np.arange(len(labels)), labels]).mean())


def test_importance_is_that_of_what_the_model_reads(package: Predictor) -> None:
    found = permutation_importance(package, people(200), np.arange(200), log_loss)
    assert [each.name for each in found] == ["age", "member"]
    assert 0 < found[0].low <= found[0].increase <= found[0].high
    assert found[1][1:] == (0, 0, 0), "the package's weight of member is 0"


def test_importance_of_images_is_that_of_their_pixels_and_feature_groups(net: Looked) -> None:
    found = {each.name: each for each in permutation_importance(net.predictor, net.test, np.arange(100), log_loss)}
    assert set(found) == {"pixels", "image_stats"}
    assert found["pixels"].low > found["image_stats"].high


def test_the_nearest_training_rows_are_those_that_look_the_same_to_the_model(net: Looked) -> None:
    train = {"image": net.train.images, "features": net.train_features}
    again = {name: values[[7, 250]] for name, values in train.items()}
    found = nearest(net.model, train, again)
    assert [line[0] for line in found] == [(7, 0), (250, 0)]
    assert all(len(line) == NEAREST and np.all(np.diff([each.distance for each in line]) >= 0) for line in found)
    twins = join(net.spec, [net.model, keras.models.clone_model(net.model)])
    assert [line[0].row for line in nearest(twins, train, again)] == [7, 250]
    few = nearest(net.model, {name: values[:2] for name, values in train.items()}, again)
    assert [len(line) for line in few] == [2, 2]


LABELLED = st.integers(1, 40).flatmap(
    lambda count: st.tuples(
        arrays.arrays(np.int32, count, elements=st.integers(0, 2)),
        arrays.arrays(np.float64, (count, 3), elements=st.floats(0.01, 1)),
    )
)


@given(LABELLED)
def test_shown_are_right_rows_and_the_wrong_ones_whose_class_is_least_likely(rows: tuple) -> None:
    labels, predictions = rows
    predicted, found = predictions.argmax(axis=1), examples(labels, predictions)
    right, wrong = ([example for example in found if example.kind == kind] for kind in ("right", "wrong"))
    assert all(predicted[example.row] == example.target for example in found)
    assert all(example.target == labels[example.row] for example in right)
    assert len(right) == min(SHOWN, (predicted == labels).sum())
    likely = sorted(predictions[row, labels[row]] for row in np.flatnonzero(predicted != labels))
    assert [predictions[example.row, labels[example.row]] for example in wrong] == likely[:SHOWN]


def test_of_numbers_the_closest_and_the_furthest_are_shown() -> None:
    found = examples(np.zeros(100, np.float32), np.arange(100, dtype=float))
    assert [example.row for example in found if example.kind == "right"] == [0, 3, 6, 9]
    assert [example.row for example in found if example.kind == "wrong"] == [99, 98, 97, 96]


def test_no_word_of_a_text_is_taken_for_a_formula(tmp_path: Path) -> None:
    words = [{"word": word, "contribution": 0.5} for word in ("$x^", "{", "$", "a$b$", "\\frac", "letters" * 10)]
    row = {"contributions": [{"column": "$text$", "value": "$", "typical": None, "contribution": 0.1}]}
    draw_contributions(["true: $\\$", "$$"], [row | {"words": {"said": words}}, row], tmp_path / "drawn.png")
    assert cv2.imread(str(tmp_path / "drawn.png")) is not None


def explained(candidate: Candidate, spec: Project, out: Path) -> dict:
    """What is written, after a look at every picture."""
    found = explain(spec, candidate, out)
    assert json.loads((out / "explain.json").read_text(encoding="utf-8")) == found
    for picture in found["pictures"]:
        assert picture["caption"] and min(cv2.imread(str(out / picture["file"])).shape[:2]) > 100
    return found


@pytest.mark.slow
def test_a_candidate_of_images_is_explained(net: Looked, tmp_path: Path) -> None:
    predictions = net.predictor.predict(net.predictor.prepare_pixels(net.test.images))
    features = net.train_features, net.test_features
    candidate = Candidate(net.model, net.predictor, net.train, features[0], net.test, features[1], predictions)
    found = explained(candidate, net.spec, tmp_path)
    files = [picture["file"] for picture in found["pictures"]]
    assert files == [f"explain/{name}.png" for name in ("right", "wrong", "importance", "neighbours")]
    assert found["importance_of"] == "log_loss"
    for example in found["examples"]:
        row = example["row"]
        assert example["entity"] == net.test.entities[row] and example["true"] == str(net.test.labels[row])
        assert example["probability"] == pytest.approx(predictions[row].max())
        assert (example["kind"] == "right") == (example["true"] == example["predicted"])
    assert [each["entity"] for each in found["neighbours"]] == [
        e["entity"] for e in found["examples"] if e["kind"] == "wrong"
    ]
    labels = dict(zip(net.train.entities, map(str, net.train.labels), strict=True))
    assert all(labels[n["entity"]] == n["label"] for each in found["neighbours"] for n in each["nearest"])


@pytest.mark.parametrize("name", ["people", "prices"])
def test_a_candidate_of_rows_is_explained(name: str, package: Predictor, tmp_path: Path) -> None:
    spec = packages.project(name)
    packages.write_package(tmp_path, name=name)
    predictor, train, test = Predictor.load(tmp_path), people(80), people(50, seed=1)
    predictions = predictor.predict_rows(map(json.loads, test.rows))
    model = build_model(spec, Layout.plain(1))
    scaled = [split.features["numeric"][:, :1] / 50 - 1 for split in (train, test)]
    predictions = predictions[:, 0] if spec.is_regression else predictions
    found = explained(Candidate(model, predictor, train, scaled[0], test, scaled[1], predictions), spec, tmp_path)
    assert [picture["file"] for picture in found["pictures"]] == [
        f"explain/{kind}.png" for kind in ("right", "wrong", "importance")
    ]
    assert found["importance"][0]["name"] == "age"
    assert found["importance_of"] == ("mae" if spec.is_regression else "log_loss")
    for example in found["examples"]:
        whole = example["value"] if spec.is_regression else example["probability"]
        parts = sum(part["contribution"] for part in example["contributions"])
        assert parts == pytest.approx(whole - example["typical"], abs=1e-3)
    wrong = [example["entity"] for example in found["examples"] if example["kind"] == "wrong"]
    assert wrong and [each["entity"] for each in found["neighbours"]] == wrong
