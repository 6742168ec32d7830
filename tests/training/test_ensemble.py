"""Several models as one: its predictions are the members' mean, and it goes where any other model goes."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models import build_model, ensemble
from tasks.models.onnx_export import write_onnx
from tests.digits import project

WIDTH = 5
COLUMNS = {"format": "table", "uri": "landing/houses", "columns": [{"name": "rooms", "type": "number"}]}
HOUSES = {
    "name": "houses",
    "task": "tabular_regression",
    "start": "2026-01-01",
    "source": COLUMNS,
    "features": [{"kind": "numeric", "columns": ["rooms"]}],
    "model": {"family": "mlp", "units": [4]},
    "gates": [{"metric": "rmse", "max": 1.0}],
}


def _members(spec: Project, families: tuple[str, ...]) -> list[keras.Model]:
    keras.utils.set_random_seed(1)
    specs = [spec.model_copy(update={"model": spec.model.model_copy(update={"family": name})}) for name in families]
    return [build_model(each, Layout.plain(WIDTH)) for each in specs]


def _rows(spec: Project, count: int = 6) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    image = {"image": random.integers(0, 256, (count, *spec.image.shape), np.uint8)} if spec.image else {}
    return image | {"features": random.standard_normal((count, WIDTH)).astype(np.float32)}


def _numbers(model: keras.Model, rows: dict[str, np.ndarray]) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(rows, training=False))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def digits() -> tuple[keras.Model, dict[str, np.ndarray], np.ndarray]:
    """Two families joined, rows, and the mean of the members' probabilities."""
    spec = project()
    members, rows = _members(spec, ("mlp", "convnet", "mlp")), _rows(spec)
    mean = np.mean([_softmax(_numbers(member, rows)) for member in members], axis=0)
    return ensemble.join(spec, members), rows, mean


def test_of_classes_probabilities_are_averaged(digits: tuple[keras.Model, dict[str, np.ndarray], np.ndarray]) -> None:
    model, rows, mean = digits
    assert np.allclose(_softmax(_numbers(model, rows)), mean, atol=1e-6)
    assert (model.output.shape, model.output.dtype) == ((None, 10), "float32")
    assert {given.name for given in model.inputs} == rows.keys()


def test_it_saves_and_loads(digits: tuple[keras.Model, dict[str, np.ndarray], np.ndarray], tmp_path: Path) -> None:
    model, rows, _ = digits
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(_numbers(loaded, rows), _numbers(model, rows))


def test_it_exports_to_onnx(digits: tuple[keras.Model, dict[str, np.ndarray], np.ndarray], tmp_path: Path) -> None:
    model, rows, mean = digits
    names = sorted(rows)

    def probabilities(*given: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(model(dict(zip(names, given, strict=True)), training=False))}

    signature = [tf.TensorSpec((None, *rows[name].shape[1:]), rows[name].dtype, name=name) for name in names]
    write_onnx(probabilities, signature, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, rows)[0], mean, atol=1e-5)


def test_of_a_regression_numbers_are_averaged() -> None:
    spec = Project.model_validate(HOUSES)
    members, rows = _members(spec, ("mlp", "mlp")), _rows(spec)
    mean = np.mean([_numbers(member, rows) for member in members], axis=0)
    assert np.allclose(_numbers(ensemble.join(spec, members), rows), mean, atol=1e-6)


def test_where_all_members_are_sure_the_logits_are_numbers() -> None:
    given = keras.Input((2,), name="features")
    members = [keras.Model(given, keras.layers.Rescaling(1e4)(given)) for _ in range(2)]
    logits = _numbers(ensemble.join(project(), members), {"features": np.array([[1.0, -1.0]], np.float32)})
    assert np.isfinite(logits).all()
    assert logits[0, 0] > logits[0, 1]
