"""A restored model is the saved one in everything that training reads."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.training import checkpoint

HISTORY = [{"loss": 0.1 + 0.2, "learning_rate": 1e-3}]


def _model(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((4,)), keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mse")
    return model


def _train(model: keras.Model) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    model.fit(random.random((64, 4)), random.random((64, 1)), batch_size=16, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """A model after one epoch."""
    model = _model(1)
    _train(model)
    return model


def test_training_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path: Path) -> None:
    model = _model(1)
    _train(model)
    checkpoint.save(tmp_path, model, HISTORY)
    undisturbed = _train(model)

    resumed = _model(2)
    assert checkpoint.restore(tmp_path, resumed) == HISTORY
    assert all(np.array_equal(a, b) for a, b in zip(_train(resumed), undisturbed, strict=True))


def test_without_dropout_state_it_would_not_be_the_same(tmp_path: Path) -> None:
    """The control: the test above can fail."""
    model = _model(1)
    _train(model)
    checkpoint.save(tmp_path, model, HISTORY)
    undisturbed = _train(model)

    resumed = _model(2)
    checkpoint.restore(tmp_path, resumed)
    for state in checkpoint.seed_states(resumed):
        state.assign(state + np.array([0, 1], np.uint32))
    assert not all(np.array_equal(a, b) for a, b in zip(_train(resumed), undisturbed, strict=True))


def test_only_the_newest_whole_checkpoint_counts(tmp_path: Path, trained: keras.Model) -> None:
    for epochs in (1, 2):
        checkpoint.save(tmp_path, trained, HISTORY * epochs)
    (tmp_path / "epoch-00003.partial").write_bytes(b"killed while writing")
    assert [path.name for path in tmp_path.glob("*.npz")] == ["epoch-00002.npz"]
    assert checkpoint.restore(tmp_path, _model(2)) == HISTORY * 2


def test_no_checkpoint_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    model = _model(1)
    before = model.get_weights()
    assert checkpoint.restore(tmp_path / "none", model) == []
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
