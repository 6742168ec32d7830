"""What every model family must do; a new one is tested by naming it in the spec's ``family``.

Each is trained once, small, for all tests of it: most of the time goes into tracing.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from tasks.core.config import replace
from tasks.core.layout import Layout, Slice
from tasks.core.spec import ACTIVATIONS, IMAGE_FAMILIES, TABLE_FAMILIES, Model, Project
from tasks.models import FAMILIES, build_model
from tasks.models.onnx_export import write_onnx
from tasks.training.checkpoint import Checkpoints
from tests import packages
from tests.digits import project
from tests.families import SMALL

MIXED = Layout(
    (Slice("age", "number", 0, 6), Slice("town", "category", 6, 10), Slice("words", "tokens", 10, 15, size=20))
)
"""Of a table: numbers, a category, and the first five words of a text."""


@dataclass(frozen=True)
class Case:
    """A family on what it takes."""

    family: str
    table: bool

    @property
    def layout(self) -> Layout:
        """Of the features."""
        return MIXED if self.table else Layout.plain(12)

    def spec(self, **options: Any) -> Project:
        """A small model of the family; ``options`` are fields of the model."""
        chosen = SMALL | {"model.family": self.family} | {f"model.{name}": value for name, value in options.items()}
        return replace(packages.project("people"), chosen) if self.table else project(chosen)

    def build(self, seed: int = 1, **options: Any) -> keras.Model:
        """That model, untrained."""
        keras.utils.set_random_seed(seed)
        return build_model(self.spec(**options), self.layout)

    def rows(self, count: int) -> dict[str, np.ndarray]:
        """Noise."""
        random = np.random.default_rng(0)
        features = random.standard_normal((count, self.layout.width)).astype(np.float32)
        if not self.table:
            return {"image": random.integers(0, 256, (count, 8, 8, 1), np.uint8), "features": features}
        features[:, 6:10] = np.eye(4)[random.integers(0, 4, count)]
        features[:, 10:] = random.integers(1, 20, (count, 5)) * (np.arange(5) < random.integers(1, 6, (count, 1)))
        return {"features": features}


CASES = [*(Case(family, False) for family in IMAGE_FAMILIES), *(Case(family, True) for family in TABLE_FAMILIES)]


@pytest.fixture(scope="module", autouse=True)
def no_graph_optimization() -> Iterator[None]:
    """For so few steps it takes longer than it saves."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False} | before)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case.family}-{'table' if case.table else 'image'}")
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Every family of the spec on everything it takes."""
    yield request.param
    keras.backend.clear_session()


@dataclass(frozen=True)
class Trained:
    """A model, what it was trained on, and its weights on the way."""

    model: keras.Model
    rows: dict[str, np.ndarray]
    labels: np.ndarray
    first: list[np.ndarray]
    straight: list[np.ndarray]
    resumed: list[np.ndarray]

    def logits(self, **changed: np.ndarray) -> np.ndarray:
        """Of its rows."""
        return _logits(self.model, self.rows | changed)


def _logits(model: keras.Model, rows: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(rows, training=False)))


@pytest.fixture(scope="module")
def trained(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Four epochs, of one step; the last two again, from a checkpoint; then until the rows are known by heart."""
    tf.config.experimental.enable_op_determinism()
    model, rows = case.build(), case.rows(32)
    labels = np.random.default_rng(1).integers(0, model.output.shape[1], 32)
    first = model.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(str(tmp_path_factory.mktemp("store")), "checkpoints")

    batch = tf.data.Dataset.from_tensors((rows, labels)).repeat()

    def fit(steps: int) -> list[np.ndarray]:
        model.fit(batch, steps_per_epoch=steps, verbose=0)
        return model.get_weights()

    fit(2)
    checkpoints.save(model, [{"loss": 0.0}] * 2)
    straight = fit(2)
    assert len(checkpoints.restore(model)[0]) == 2
    resumed = fit(2)
    fit(80)
    return Trained(model, rows, labels, first, straight, resumed)


def test_the_spec_names_all_families_and_no_other() -> None:
    assert set(FAMILIES) == set(get_args(Model.model_fields["family"].annotation))
    assert set(FAMILIES) == {*IMAGE_FAMILIES, *TABLE_FAMILIES}


def test_takes_decoded_images_and_features_and_gives_logits(case: Case, trained: Trained) -> None:
    image = {} if case.table else {"image": ((None, 8, 8, 1), "uint8")}
    assert {tensor.name: (tensor.shape, tensor.dtype) for tensor in trained.model.inputs} == {
        **image,
        "features": ((None, case.layout.width), "float32"),
    }
    outputs = case.spec().outputs
    assert (trained.model.output.shape, trained.model.output.dtype) == ((None, outputs), "float32")
    assert not np.allclose(trained.logits().sum(axis=1), 1), "these look like probabilities"


def test_all_that_is_given_matters(case: Case, trained: Trained) -> None:
    logits, features = trained.logits(), trained.rows["features"]
    if not case.table:
        assert not np.allclose(logits, trained.logits(image=trained.rows["image"][::-1]))
    for piece in case.layout.slices:
        changed = features.copy()
        changed[:, piece.start : piece.stop] = features[::-1, piece.start : piece.stop]
        assert not np.allclose(logits, trained.logits(features=changed)), piece.name


def test_same_seed_same_weights_under_the_same_names(case: Case, trained: Trained) -> None:
    again, other = case.build(), case.build(seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(trained.first, again.get_weights(), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(trained.first, other.get_weights(), strict=True))
    names = [[layer.name for layer in model.layers if layer.weights] for model in (trained.model, again, other)]
    assert names[0] == names[1] == names[2]


def test_learns_random_labels_by_heart(trained: Trained) -> None:
    assert (trained.logits().argmax(axis=1) == trained.labels).all()


def test_resumes_to_the_bit(trained: Trained) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(trained.straight, trained.resumed, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(trained.straight, trained.first, strict=True))


def test_saves_and_loads(trained: Trained, tmp_path: Path) -> None:
    trained.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(trained.logits(), _logits(loaded, trained.rows))


def test_exports(trained: Trained, tmp_path: Path) -> None:
    names = [tensor.name for tensor in trained.model.inputs]
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in trained.model.inputs]

    def logits(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": trained.model(dict(zip(names, tensors, strict=True)), training=False)}

    write_onnx(logits, signature, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    eight = {name: values[:8] for name, values in trained.rows.items()}
    assert np.allclose(session.run(["logits"], eight)[0], trained.logits()[:8], atol=1e-4)


NORMALIZATIONS = {
    "none": (),
    "batch": keras.layers.BatchNormalization,
    "layer": keras.layers.LayerNormalization,
    "group": keras.layers.GroupNormalization,
}


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalizes_as_asked_and_penalizes_every_kernel(case: Case, name: str) -> None:
    model = case.build(normalization=name, l1=0.1, l2=0.01)
    found = {type(layer) for layer in model._flatten_layers()} & set(list(NORMALIZATIONS.values())[1:])
    assert found == ({NORMALIZATIONS[name]} if name != "none" else set())
    kernels = [weight.numpy() for weight in model.trainable_weights if weight.name.endswith("kernel")]
    expected = sum(0.1 * np.abs(kernel).sum() + 0.01 * (kernel**2).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_computes_in_half_precision_and_gives_float32(case: Case, precision: str) -> None:
    keras.config.set_dtype_policy(precision)
    try:
        model = case.build()
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    half = precision.removeprefix("mixed_")
    assert half in {layer.compute_dtype for layer in model.layers if layer.weights}
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    logits, exact = _logits(model, case.rows(8)), _logits(case.build(), case.rows(8))
    assert logits.dtype == np.float32
    assert np.allclose(logits, exact, atol=0.1)


def test_activations_are_those_of_keras_that_treat_each_number_alone() -> None:
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    names = set(dir(keras.activations)) - {"get", "serialize", "deserialize"}
    functions = {name: getattr(keras.activations, name) for name in names if not name.startswith("_")}

    def alone(function: Any) -> bool:
        if any(each.default is each.empty for each in [*inspect.signature(function).parameters.values()][1:]):
            return False  # a name cannot say what else it takes
        whole, part = (keras.ops.convert_to_numpy(function(given)) for given in (values, values[:, :2]))
        return whole.shape == values.shape and np.allclose(whole[:, :2], part)

    assert set(ACTIVATIONS) == {name for name, function in functions.items() if alone(function)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_takes_every_activation(activation: str) -> None:
    model = Case("resnet", False).build(activation=activation, filters=[8], dropout=0.0)
    given = {layer.activation.__name__ for layer in model.layers if isinstance(layer, keras.layers.Activation)}
    assert given == {keras.activations.get(activation).__name__}


@pytest.mark.parametrize("family", ["alexnet", "vgg", "resnet", "mobilenet", "vit"])
@pytest.mark.parametrize(("height", "width", "channels"), [(1, 5, 1), (9, 70, 3), (200, 150, 1)])
def test_takes_images_of_any_size(family: str, height: int, width: int, channels: int) -> None:
    shape = {"image.height": height, "image.width": width, "image.channels": channels}
    model = build_model(project(SMALL | shape | {"model.family": family, "model.patch": 16}), Layout.plain(12))
    image = np.zeros((2, height, width, channels), np.uint8)
    assert _logits(model, {"image": image, "features": np.zeros((2, 12), np.float32)}).shape == (2, 10)


@pytest.mark.parametrize("family", ["alexnet", "vgg"])
def test_dense_layers_do_not_grow_with_the_image(family: str) -> None:
    sizes = [
        build_model(project(SMALL | {"model.family": family, **shape}), Layout.plain(12)).count_params()
        for shape in ({"image.height": 448, "image.width": 448}, {"image.height": 4096, "image.width": 4096})
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.3)


@pytest.mark.parametrize(
    ("family", "options", "millions"),
    [
        ("vgg", {"filters": [64, 128, 256, 512, 512], "depth": 2, "dropout": 0.0}, 9.404992),
        ("resnet", {"filters": [16, 32, 64], "depth": 3}, 0.27),
        ("mobilenet", {"scale": 1.0}, 0.939120),
        ("efficientnet", {"scale": 1.0}, 4.049571),
        # ViT-Ti/16 has 5.524416 without its head: less the class token, its position, and the bias beside positions.
        ("vit", {"width": 192, "depth": 12, "heads": 3, "patch": 16}, 5.523840),
    ],
)
def test_is_as_large_as_published(family: str, options: dict[str, Any], millions: float) -> None:
    chosen = {f"model.{name}": value for name, value in {"units": [], **options}.items()}
    side = 32 if family == "resnet" else 224
    shape = {"image.height": side, "image.width": side, "image.channels": 3}
    model = build_model(project(shape | chosen | {"model.family": family}), Layout.plain(12))
    count = model.count_params() - model.get_layer("logits").count_params()
    assert count / 1e6 == pytest.approx(millions, rel=0.02 if family == "resnet" else 1e-9)


def test_one_pixel_high_images_are_pooled_no_further() -> None:
    spec = project({"model.family": "convnet", "model.filters": [4, 4, 4], "image.height": 2, "image.width": 8})
    assert build_model(spec, Layout.plain(12)).output.shape == (None, 10)
