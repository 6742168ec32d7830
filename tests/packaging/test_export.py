"""The export stage on real transform graphs and real models, small ones: forms, runtimes, parity."""

import json
import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tasks.core.artifacts import Manifest
from tasks.core.errors import Refused, UpdraftError
from tasks.core.settings import ROOT
from tasks.core.shards import read_split
from tasks.runtime.baseline import BASELINE, Baseline
from tasks.runtime.instances import BadRow
from tasks.runtime.predictor import LITERT, MODEL, SAVED_MODEL, SIGNATURE, Predictor
from tests.packaging.made import ROWS, Trained, png, row, skewed_dataset

FORMS = [
    {"kind": "float16"},
    {"kind": "int8_dynamic"},
    {"kind": "int8", "rows": 40},
    {"kind": "pruned", "sparsity": 0.5},
]
PICTURES = [png(seed) for seed in range(900, 930)]


@pytest.fixture(scope="module")
def exported(images: Trained) -> Manifest:
    """The images' model in all forms of its graph."""
    return images.export({"forms": FORMS})


@pytest.fixture(scope="module")
def light(numbers: Trained) -> Manifest:
    """The table's model, for LiteRT alone."""
    return numbers.export({"runtimes": ["litert"], "forms": FORMS[:3]})


@pytest.fixture(scope="module")
def said(strings: Trained) -> Manifest:
    """The model that takes strings, where the spec would rather have others."""
    return strings.export({"runtimes": ["onnx", "litert"], "forms": FORMS})


def test_the_plain_form_predicts_what_the_trained_model_does(images: Trained, exported: Manifest) -> None:
    told = exported.metrics["forms"]["plain"]
    assert (told["parity_rows"], told["runtime"]) == (ROWS, "onnx")
    assert 0 < told["parity_max_abs_diff"] <= 1e-4
    probabilities = Predictor.load(images.folder(exported, "plain")).predict_bytes(PICTURES)
    assert probabilities.shape == (len(PICTURES), 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_batch_is_answered_like_its_rows_alone(images: Trained, exported: Manifest) -> None:
    predictor = Predictor.load(images.folder(exported, "plain"))
    pictures = [png(seed) for seed in range(300)]
    alone = np.concatenate([predictor.predict_bytes([picture]) for picture in pictures])
    np.testing.assert_allclose(predictor.predict_bytes(pictures), alone, atol=1e-6)


@pytest.mark.parametrize("form", [each["kind"] for each in FORMS])
def test_a_smaller_form_is_smaller_and_says_nearly_the_same(images: Trained, exported: Manifest, form: str) -> None:
    plain, smaller = (exported.metrics["forms"][name] for name in ("plain", form))
    assert smaller["bytes"] < (0.85 if form == "pruned" else 0.7) * plain["bytes"]
    folder = images.folder(exported, form)
    assert smaller["bytes"] == sum(path.stat().st_size for path in folder.glob(f"{MODEL}*"))
    predictor = Predictor.load(folder)
    assert (predictor.signature.form, predictor.signature.runtime) == (form, "onnx")
    found = predictor.predict_bytes(PICTURES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-4)
    if form != "pruned":
        expected = Predictor.load(images.folder(exported, "plain")).predict_bytes(PICTURES)
        assert 0 < np.abs(found - expected).max() < 0.1
        assert smaller["parity_max_abs_diff"] < 0.1


@pytest.mark.parametrize("form", ["float16", "int8_dynamic", "int8"])
def test_only_the_model_gets_smaller_and_not_the_transform(images: Trained, exported: Manifest, form: str) -> None:
    def fitted(name: str) -> list[tuple[str, bytes]]:
        graph = onnx.load(str(images.folder(exported, name) / MODEL)).graph
        found = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        parts = [values for name, values in found.items() if name.startswith("transform/")]
        return sorted((f"{values.dtype} {values.shape}", values.tobytes()) for values in parts)

    assert fitted(form) == fitted("plain") != []


def test_the_signature_and_the_baseline_tell_what_was_exported(images: Trained, exported: Manifest) -> None:
    folder = images.folder(exported, "plain")
    signature = Predictor.load(folder).signature
    assert (signature.project, signature.classes, signature.top_k) == ("tiny", ("a", "b", "c"), 3)
    assert signature.libraries.keys() >= {"numpy", "onnxruntime", "tensorflow"} and len(signature.lock) == 64
    baseline = Baseline.model_validate_json((folder / BASELINE).read_bytes())
    assert baseline.rows == ROWS
    widths = {group: len(dimensions) for group, dimensions in baseline.features.items()}
    assert widths == {"image_stats": 5, "hog": 16, "sift": 512}
    assert all(sum(d.counts) == ROWS for dimensions in baseline.features.values() for d in dimensions)


def test_another_library_than_at_packaging_is_named(
    images: Trained, exported: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(images.folder(exported, "plain"), tmp_path / "old"))
    with caplog.at_level(logging.WARNING, "updraft"):
        Predictor.load(folder)
    assert not caplog.records
    described = json.loads((folder / SIGNATURE).read_text())
    described["libraries"] |= {"onnxruntime": "1.0", "tensorflow": "1.0"}
    (folder / SIGNATURE).write_text(json.dumps(described))
    with caplog.at_level(logging.WARNING, "updraft"):
        Predictor.load(folder)
    (record,) = caplog.records
    assert "packaged with onnxruntime 1.0" in record.getMessage()


@pytest.mark.parametrize("harm", ["other_weights", "not_a_number"])
def test_a_tampered_graph_is_refused_and_rows_named(
    images: Trained, exported: Manifest, tmp_path: Path, harm: str
) -> None:
    from tasks.packaging.parity import check_parity

    folder = images.folder(exported, "plain")
    model = onnx.load(str(folder / MODEL))
    weights = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    changed = numpy_helper.to_array(weights) * (1.5 if harm == "other_weights" else np.nan)
    weights.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), weights.name))
    onnx.save(model, str(tmp_path / MODEL))
    (tmp_path / SIGNATURE).write_bytes((folder / SIGNATURE).read_bytes())
    expected = Predictor.load(folder).predict_bytes(PICTURES)
    found = Predictor.load(tmp_path).predict_bytes(PICTURES)
    names = [f"digit-{n}" for n in range(len(PICTURES))]
    assert check_parity(expected, expected, names) == 0
    with pytest.raises(Refused, match=r"rows: digit-"):
        check_parity(found, expected, names)


@pytest.mark.slow
def test_a_damaged_packed_folder_does_not_load(strings: Trained, said: Manifest, tmp_path: Path) -> None:
    folder = shutil.copytree(strings.folder(said, "pruned"), tmp_path / "pruned")
    (graph,) = Path(folder).glob(f"{SAVED_MODEL}*")
    graph.write_bytes(graph.read_bytes()[:500])
    with pytest.raises(UpdraftError, match="cannot be loaded"):
        Predictor.load(Path(folder))


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_graph_does_not_load(images: Trained, exported: Manifest, tmp_path: Path, packed: bool) -> None:
    folder = images.folder(exported, "pruned" if packed else "plain")
    (graph,) = folder.glob(f"{MODEL}*")
    (tmp_path / SIGNATURE).write_bytes((folder / SIGNATURE).read_bytes())
    (tmp_path / graph.name).write_bytes(graph.read_bytes()[:500])
    with pytest.raises(UpdraftError, match="cannot be loaded"):
        Predictor.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "numbers", "prices", "strings"])
def test_a_serving_skew_publishes_nothing(request: pytest.FixtureRequest, kind: str) -> None:
    """The same stage with a dataset whose received values are not those that its features were computed from."""
    made: Trained = request.getfixturevalue(kind)
    skewed = made.other(skewed_dataset, "dataset")
    with pytest.raises(Refused, match="predicts otherwise"):
        made.export(dataset=skewed)


@pytest.mark.slow
def test_of_several_runtimes_the_quickest_is_taken(numbers: Trained) -> None:
    told = numbers.export({"runtimes": ["onnx", "litert", "saved_model"]})
    plain = told.metrics["forms"]["plain"]
    tried = plain["runtimes"]
    assert tried.keys() == {"onnx", "litert", "saved_model"}
    assert all(0 <= each["parity_max_abs_diff"] <= 1e-4 for each in tried.values())
    assert tried[plain["runtime"]]["milliseconds"] == min(each["milliseconds"] for each in tried.values())
    assert tried["saved_model"]["milliseconds"] > plain["milliseconds"]
    folder = numbers.folder(told, "plain")
    assert Predictor.load(folder).signature.runtime == plain["runtime"]
    assert len([name for name in (MODEL, LITERT, SAVED_MODEL) if (folder / name).exists()]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "float16", "int8_dynamic", "int8"])
def test_litert_predicts_from_several_threads(numbers: Trained, light: Manifest, form: str) -> None:
    assert light.metrics["left_out"] == {}
    predictor = Predictor.load(numbers.folder(light, form))
    rows = [row(seed) for seed in range(40)]
    expected = predictor.predict_rows(rows)
    assert expected.dtype == np.float32 and predictor.signature.runtime == "litert"
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda each: predictor.predict_rows([each]), rows))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=0.05 if form.startswith("int8") else 1e-5)
    plain = Predictor.load(numbers.folder(light, "plain")).predict_rows(rows)
    assert np.abs(expected - plain).max() < 0.15


@pytest.mark.slow
def test_litert_needs_no_other_runtime(numbers: Trained, light: Manifest) -> None:
    folder = numbers.folder(light, "plain")
    code = (
        "import sys, json; sys.modules |= {'onnxruntime': None, 'tensorflow': None};"
        "from pathlib import Path; from tasks.runtime.predictor import Predictor;"
        "print(Predictor.load(Path(sys.argv[1])).predict_rows([json.loads(sys.argv[2])]).tolist())"
    )
    command = [sys.executable, "-c", code, str(folder), json.dumps(row(5))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, Predictor.load(folder).predict_rows([row(5)]), atol=1e-6)


@pytest.mark.slow
def test_strings_stay_with_tensorflow_and_the_metrics_say_why(strings: Trained, said: Manifest) -> None:
    plain = said.metrics["forms"]["plain"]
    assert plain["runtime"] == "saved_model"
    assert all("strings" in plain["runtimes"][name]["why"] for name in ("onnx", "litert"))
    predictor = Predictor.load(strings.folder(said, "plain"))
    found = predictor.predict_rows([row(900), row(901), {**row(901), "sky": "never seen", "age": None}])
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert not np.allclose(found[0], found[1]) and not np.allclose(found[1], found[2])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["float16", "int8_dynamic", "pruned"])
def test_a_smaller_form_of_strings_is_smaller_and_says_nearly_the_same(
    strings: Trained, said: Manifest, form: str
) -> None:
    plain, smaller = (said.metrics["forms"][name] for name in ("plain", form))
    assert smaller["bytes"] < plain["bytes"]
    predictor = Predictor.load(strings.folder(said, form))
    assert (predictor.signature.form, predictor.signature.runtime) == (form, "saved_model")
    rows = [row(seed) for seed in range(900, 930)]
    found = predictor.predict_rows(rows)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-4)
    if form == "pruned":
        assert smaller["parity_max_abs_diff"] < 1e-4
    else:
        expected = Predictor.load(strings.folder(said, "plain")).predict_rows(rows)
        assert 0 < np.abs(found - expected).max() < 0.02


@pytest.mark.slow
def test_strings_have_no_form_that_computes_in_8_bits(strings: Trained, said: Manifest) -> None:
    assert said.metrics["left_out"].keys() == {"int8"}
    assert "take int8_dynamic" in said.metrics["left_out"]["int8"]
    assert not list(strings.folder(said).glob("int8"))


@pytest.mark.slow
def test_texts_are_not_in_the_baseline_and_categories_are(strings: Trained, said: Manifest) -> None:
    baseline = Baseline.model_validate_json((strings.folder(said, "plain") / BASELINE).read_bytes())
    assert set(baseline.features) == {"numeric", "categorical", "crossed"}
    sky, member = baseline.features["categorical"]
    assert set(sky.values) == {"sun", "rain", ""} and set(member.values) == {"true", "false"}


@pytest.mark.slow
def test_a_regression_gives_the_numbers_of_the_trained_model(prices: Trained) -> None:
    import keras

    from tasks.packaging.parity import number_tolerance

    told = prices.export()
    tolerance = number_tolerance(np.array([0, 1000, 2000], np.float32))
    assert told.metrics["forms"]["plain"]["parity_max_abs_diff"] <= tolerance
    predictor = Predictor.load(prices.folder(told, "plain"))
    signature = predictor.signature
    assert (signature.task, signature.classes, signature.top_k) == ("regression", (), 1)
    split = read_split(prices.folder(prices.inputs["dataset"][0]), "train")
    model = keras.models.load_model(prices.folder(prices.inputs["train"][0]) / "model.keras")
    features = np.load(prices.folder(prices.inputs["transform"][0]) / "train.npy")
    found = predictor.predict_rows([json.loads(row) for row in split.rows])
    np.testing.assert_allclose(found, model.predict({"features": features}, verbose=0), rtol=1e-4, atol=1e-4)
    assert found.shape == (ROWS, 1) and found.std() > 0


def test_numbers_may_differ_by_a_little_of_their_deviation_and_by_what_single_precision_cannot_tell() -> None:
    from tasks.packaging.parity import number_tolerance

    assert number_tolerance(np.array([-1000, 1000], np.float32)) == pytest.approx(0.1, rel=0.01)
    years = np.array([100_000_000, 100_000_008], np.float32)
    assert 8 <= number_tolerance(years) <= 100
    assert number_tolerance(np.array([5, 5], np.float32)) > 0


@pytest.mark.slow
def test_a_column_that_no_feature_is_made_from_need_not_be_sent(numbers: Trained, light: Manifest) -> None:
    predictor, whole = Predictor.load(numbers.folder(light, "plain")), row(900)
    without = {name: value for name, value in whole.items() if name not in {"unused", "sky"}}
    assert np.array_equal(predictor.predict_rows([without]), predictor.predict_rows([whole]))
    with pytest.raises(BadRow, match="size is missing"):
        predictor.predict_rows([{**whole, "size": None}])
