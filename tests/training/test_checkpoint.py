"""A restored model is the saved one in everything that training reads, from any kind of store."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.core.store import LocalStore
from tasks.training.checkpoint import STATE, Checkpoints, seed_states
from tests.servers.s3 import S3Server

HISTORY = [{"loss": 0.1 + 0.2, "learning_rate": 1e-3}]
FOLDER = "digits/checkpoints/key/trial-0001"

OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "moments": lambda: keras.optimizers.Adam(0.01),
    "averaged weights": lambda: keras.optimizers.SGD(0.01, momentum=0.9, use_ema=True, ema_momentum=0.9),
    # Three: an epoch of four steps ends with one batch's gradients waiting for those of the next epoch.
    "waiting gradients": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=3),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), dynamic_growth_steps=3),
}


def _model(seed: int, optimizer: keras.optimizers.Optimizer | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((4,)), keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    optimizer = optimizer or keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mse", jit_compile=False)
    return model


class _Weights(keras.callbacks.Callback):
    """What every epoch ends with: `fit` itself leaves averaged weights in the model."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seen += self.model.get_weights()


def _train(model: keras.Model, epochs: int = 1, *callbacks: keras.callbacks.Callback) -> list[np.ndarray]:
    random, weights = np.random.default_rng(0), _Weights()
    x, y = random.random((64, 4)), random.random((64, 1))
    model.fit(x, y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, callbacks=[weights, *callbacks])
    return [*weights.seen[-len(model.weights) :], *model.get_weights()]


class _Save(keras.callbacks.Callback):
    def __init__(self, checkpoints: Checkpoints) -> None:
        super().__init__()
        self._checkpoints = checkpoints

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch == 0:
            self._checkpoints.save(self.model, HISTORY)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """In a store of the test's own."""
    return Checkpoints(str(tmp_path), FOLDER)


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """A model after one epoch."""
    model = _model(1)
    _train(model)
    return model


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_goes_on_from_a_checkpoint_as_if_never_stopped(
    checkpoints: Checkpoints, make: Callable[[], keras.optimizers.Optimizer]
) -> None:
    undisturbed = _train(_model(1, make()), 2, _Save(checkpoints))
    resumed = _model(2, make())
    assert checkpoints.restore(resumed) == (HISTORY, {})
    assert all(np.array_equal(a, b) for a, b in zip(_train(resumed), undisturbed, strict=True))


def test_without_dropout_state_it_would_not_be_the_same(checkpoints: Checkpoints) -> None:
    """The control: the test above can fail."""
    undisturbed = _train(_model(1), 2, _Save(checkpoints))
    resumed = _model(2)
    checkpoints.restore(resumed)
    for state in seed_states(resumed):
        state.assign(state + np.array([0, 1], np.uint32))
    assert not all(np.array_equal(a, b) for a, b in zip(_train(resumed), undisturbed, strict=True))


def test_what_callbacks_remember_comes_back(checkpoints: Checkpoints, trained: keras.Model) -> None:
    extra = {"best": np.float64(0.25), "weights-0": np.arange(6, dtype=np.float32).reshape(2, 3)}
    checkpoints.save(trained, HISTORY, extra)
    _, found = checkpoints.restore(_model(2))
    assert found.keys() == extra.keys()
    assert all(np.array_equal(found[name], extra[name]) for name in extra)


@pytest.mark.parametrize(("every", "keep", "left"), [(1, 1, [7]), (1, 3, [5, 6, 7]), (3, 2, [3, 6]), (8, 1, [])])
def test_the_newest_few_of_every_so_many_epochs_stay(
    tmp_path: Path, trained: keras.Model, every: int, keep: int, left: list[int]
) -> None:
    checkpoints = Checkpoints(str(tmp_path), FOLDER, every, keep)
    for epochs in range(1, 8):
        checkpoints.save(trained, HISTORY * epochs)
    assert sorted(path.name for path in (tmp_path / FOLDER).glob("*")) == [f"epoch-{epoch:05d}" for epoch in left]
    assert len(checkpoints.restore(_model(2))[0]) == max(left, default=0)


def test_a_half_written_checkpoint_does_not_count(
    checkpoints: Checkpoints, trained: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(trained, HISTORY)
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "publish", _killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(trained, HISTORY * 2)
    assert checkpoints.restore(_model(2))[0] == HISTORY
    checkpoints.save(trained, HISTORY * 2)
    assert checkpoints.restore(_model(2))[0] == HISTORY * 2
    assert not list((tmp_path / ".partial").iterdir()), "what a killed attempt left is still there"


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [lambda data: data[:-2000], lambda data: data[:900] + b"????" + data[904:]])
def test_a_damaged_one_gives_way_to_the_one_before(
    tmp_path: Path, trained: keras.Model, how: Callable[[bytes], bytes]
) -> None:
    checkpoints = Checkpoints(str(tmp_path), FOLDER, keep=2)
    for epochs in (1, 2):
        checkpoints.save(trained, HISTORY * epochs)
    state = tmp_path / FOLDER / "epoch-00002" / STATE
    state.write_bytes(how(state.read_bytes()))
    assert checkpoints.restore(_model(2))[0] == HISTORY
    checkpoints.save(trained, HISTORY * 2)
    assert checkpoints.restore(_model(2))[0] == HISTORY * 2


def test_no_checkpoint_leaves_the_model_as_it_is(checkpoints: Checkpoints) -> None:
    model = _model(1)
    before = model.get_weights()
    assert checkpoints.restore(model) == ([], {})
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_removed_they_are_gone(checkpoints: Checkpoints, trained: keras.Model, tmp_path: Path) -> None:
    checkpoints.save(trained, HISTORY)
    checkpoints.remove()
    checkpoints.remove()
    assert checkpoints.restore(_model(2)) == ([], {})
    assert not list((tmp_path / FOLDER).glob("*"))


@pytest.mark.slow
def test_on_s3_any_host_finds_them(s3: S3Server, trained: keras.Model) -> None:
    checkpoints = Checkpoints(f"s3://{s3.bucket()}/artifacts", FOLDER)
    for epochs in (1, 2):
        checkpoints.save(trained, HISTORY * epochs)
    found = _model(2)
    assert checkpoints.restore(found)[0] == HISTORY * 2
    assert all(np.array_equal(a, b) for a, b in zip(found.get_weights(), trained.get_weights(), strict=True))
    checkpoints.remove()
    assert checkpoints.restore(_model(2))[0] == []
