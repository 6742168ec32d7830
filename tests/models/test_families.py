"""What every model family must do; a new file in ``tasks/models/`` is tested by naming it in the spec's ``family``."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.core.layout import Layout
from tasks.models import FAMILIES, build_model
from tests import packages
from tests.digits import project

NAMES = tuple(FAMILIES)
WIDTH = 12


@pytest.fixture(scope="module", params=NAMES)
def family(request: pytest.FixtureRequest) -> str:
    """Every family of the spec."""
    return str(request.param)


def _model(family: str, seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    spec = project({"model.family": family, "model.filters": [8, 16], "model.units": [32], "model.dropout": 0.1})
    return build_model(spec, Layout.plain(WIDTH))


def _rows(count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "image": random.integers(0, 256, (count, 8, 8, 1), np.uint8),
        "features": random.standard_normal((count, WIDTH)).astype(np.float32),
    }


def test_takes_decoded_images_and_features_and_gives_logits(family: str) -> None:
    model = _model(family)
    assert {tensor.name: (tensor.shape, tensor.dtype) for tensor in model.inputs} == {
        "image": ((None, 8, 8, 1), "uint8"),
        "features": ((None, WIDTH), "float32"),
    }
    assert (model.output.shape, model.output.dtype) == ((None, 10), "float32")
    logits = keras.ops.convert_to_numpy(model(_rows(5)))
    assert logits.shape == (5, 10)
    assert not np.allclose(logits.sum(axis=1), 1), "these look like probabilities"


def test_both_inputs_matter(family: str) -> None:
    model, rows = _model(family), _rows(4)
    logits = keras.ops.convert_to_numpy(model(rows))
    for name in rows:
        changed = keras.ops.convert_to_numpy(model(rows | {name: rows[name][::-1]}))
        assert not np.allclose(logits, changed)


def test_same_seed_same_weights(family: str) -> None:
    first, second, other = (_model(family, seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_learns_random_labels_by_heart_and_survives_saving(family: str, tmp_path: Path) -> None:
    model, rows = _model(family), _rows(32)
    labels = np.random.default_rng(1).integers(0, 10, 32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(rows, labels, batch_size=32, epochs=80, verbose=0)
    logits = keras.ops.convert_to_numpy(model(rows, training=False))
    assert (logits.argmax(axis=1) == labels).all()

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(logits, keras.ops.convert_to_numpy(loaded(rows, training=False)))


def test_a_table_has_features_alone() -> None:
    keras.utils.set_random_seed(1)
    model = build_model(packages.project("people"), Layout.plain(WIDTH))
    assert [tensor.name for tensor in model.inputs] == ["features"]
    features = _rows(5)["features"]
    logits = keras.ops.convert_to_numpy(model({"features": features}))
    assert logits.shape == (5, 2)
    assert not np.allclose(logits, keras.ops.convert_to_numpy(model({"features": features[::-1]})))


def test_one_pixel_high_images_are_pooled_no_further() -> None:
    spec = project({"model.family": "convnet", "model.filters": [4, 4, 4], "image.height": 2, "image.width": 8})
    assert build_model(spec, Layout.plain(WIDTH)).output.shape == (None, 10)
