"""Transfer learning: which layers take weights, what stays frozen for how long, and where the weights come from."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.core.errors import BadInput
from tasks.core.stages import Context
from tasks.models import ensemble
from tasks.training import start, start_source
from tasks.training.start import Frozen
from tests.digits import open_platform, project


def _model(seed: int, width: int = 8, classes: int = 3) -> keras.Model:
    """Attention, whose layers stand within a layer, and a head of ``classes``."""
    keras.utils.set_random_seed(seed)
    given = keras.Input((4, 6), name="features")
    tokens = keras.layers.MultiHeadAttention(2, 3, name="attention")(given, given)
    tokens = keras.layers.BatchNormalization(name="norm")(keras.layers.Flatten(name="flat")(tokens))
    hidden = keras.layers.Dense(width, name="hidden")(tokens)
    model = keras.Model(given, keras.layers.Dense(classes, name="logits")(hidden))
    optimizer, loss = keras.optimizers.Adam(0.01, use_ema=True), keras.losses.SparseCategoricalCrossentropy(True)
    model.compile(optimizer, loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def _equal(model: keras.Model, other: keras.Model, layer: str) -> bool:
    pairs = zip(model.get_layer(layer).get_weights(), other.get_layer(layer).get_weights(), strict=True)
    return all(a.shape == b.shape and np.array_equal(a, b) for a, b in pairs)


LAYERS = {"attention", "norm", "hidden", "logits"}


@pytest.fixture(scope="module", params=["model.keras", "model.weights.h5"])
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A model and the file that it was saved in."""
    model, path = _model(1), tmp_path_factory.mktemp("start") / request.param
    model.save(path) if path.suffix == ".keras" else model.save_weights(path)
    return model, path


@pytest.mark.parametrize(
    ("changed", "anew", "told"),
    [
        ({}, set(), "7 of 7 layers begin with the weights of {}; anew: none"),
        ({"classes": 5}, {"logits"}, "6 of 7 layers begin with the weights of {}; anew: logits"),
        ({"width": 9}, {"hidden", "logits"}, "5 of 7 layers begin with the weights of {}; anew: hidden, logits"),
    ],
    ids=["same", "other classes", "wider"],
)
def test_layers_of_the_same_name_and_shape_take_the_weights(
    given: tuple[keras.Model, Path], changed: dict[str, int], anew: set[str], told: str
) -> None:
    earlier, path = given
    model, lines = _model(2, **changed), []
    begun = start.apply(model, path, lines.append)
    assert {name for name in LAYERS if _equal(model, earlier, name)} == LAYERS - anew
    assert lines == ["start: " + told.format(path.name)]
    inner = {"query", "key", "value", "attention_output"}
    assert {layer.name for layer in begun} == (LAYERS - {"attention"} | inner) - anew


def test_of_an_ensemble_the_best_member_counts(tmp_path: Path) -> None:
    members = [_model(1), _model(2), _model(3)]
    ensemble.join(project(), members).save(tmp_path / "model.keras")
    model = _model(4)
    assert len(start.apply(model, tmp_path / "model.keras", print)) == 7
    assert all(_equal(model, members[0], name) for name in LAYERS)


def test_a_file_of_other_layers_is_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="other")]).save(tmp_path / "model.keras")
    with pytest.raises(BadInput, match=r"none of the 7 layers has a counterpart in model.keras, which holds other"):
        start.apply(_model(1), tmp_path / "model.keras", print)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(BadInput, match=f"{name} cannot be read"):
        start.apply(_model(1), tmp_path / name, print)


class _Watch(keras.callbacks.Callback):
    """Which layers each epoch changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: list[set[str]] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._before = {name: self.model.get_layer(name).get_weights() for name in LAYERS}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        now = {name: self.model.get_layer(name).get_weights() for name in LAYERS}
        same = {n for n in LAYERS if all(np.array_equal(a, b) for a, b in zip(now[n], self._before[n], strict=True))}
        self.changed.append(LAYERS - same)


def _fit(model: keras.Model, frozen: Frozen, epochs: range) -> list[set[str]]:
    random, watch = np.random.default_rng(0), _Watch()
    x, y = random.random((32, 4, 6)), random.integers(0, 3, 32)
    options = {"initial_epoch": epochs.start, "epochs": epochs.stop, "verbose": 0, "shuffle": False}
    model.fit(x, y, batch_size=16, callbacks=[frozen, watch], **options)
    return watch.changed


def test_what_started_from_there_is_frozen_first_and_then_trained() -> None:
    model = _model(1)
    begun = [layer for layer in model.layers if layer.name in ("attention", "norm")]
    changed = _fit(model, Frozen(begun, 2), range(4))
    assert changed == [{"hidden", "logits"}, {"hidden", "logits"}, LAYERS, LAYERS]
    assert len(model.trainable_variables) == 14


@pytest.mark.parametrize("stop", [1, 2])
def test_a_fit_that_goes_on_later_freezes_the_same_epochs(stop: int) -> None:
    model = _model(1)
    begun = [layer for layer in model.layers if layer.name in ("attention", "norm")]
    frozen = {"hidden", "logits"}
    assert _fit(model, Frozen(begun, 2), range(stop)) == [frozen, frozen][:stop]
    assert _fit(model, Frozen(begun, 2), range(stop, 4)) == [frozen, frozen, LAYERS, LAYERS][stop:]


def test_nothing_left_to_train_is_refused() -> None:
    model = _model(1)
    with pytest.raises(BadInput, match="all are frozen"):
        _fit(model, Frozen(model.layers, 1), range(2))


class _Case:
    """A registry with two versions, the second one champion, and a store with the weights of both."""

    def __init__(self) -> None:
        self.platform = open_platform()
        for number in (1, 2):
            details = {"candidate": f"candidate-{number}"}
            self.platform.registry.register("letters", f"key-{number}", f"letters/package/key-{number}", details)
            self.platform.store.write_bytes(f"letters/train/candidate-{number}/model.keras", b"weights")
        self.promote(2, None)

    def promote(self, version: int, expected: int | None) -> None:
        self.platform.registry.move_alias("letters", "champion", version, expected=expected, who="test", why="test")

    def context(self, name: str = "digits", **fields: object) -> Context:
        """Of a stage whose spec starts from there."""
        spec = project({"name": name, **({"model.start": fields} if fields else {})})
        return Context(spec, {}, self.platform.store, self.platform.registry, None, "test")


@pytest.fixture
def case(home: Path) -> _Case:
    """See `_Case`."""
    return _Case()


def test_without_a_start_there_is_no_state(case: _Case) -> None:
    assert (start_source.state(case.context()), start_source.stored(case.context())) == ({}, None)


def test_a_version_is_that_training_s_model(case: _Case) -> None:
    ctx = case.context(project="letters", version=1)
    assert start_source.stored(ctx) == "letters/train/candidate-1/model.keras"
    assert start_source.state(ctx) == {"start": "letters version 1 (candidate-1)"}


def test_the_champion_is_the_one_of_the_moment(case: _Case) -> None:
    ctx = case.context(project="letters", version="champion")
    assert start_source.state(ctx) == {"start": "letters version 2 (candidate-2)"}
    case.promote(1, 2)
    assert start_source.state(ctx) == {"start": "letters version 1 (candidate-1)"}
    assert start_source.fetch(ctx) == case.platform.store.fetch("letters/train/candidate-1/model.keras")


def test_a_project_without_a_champion_begins_anew(case: _Case) -> None:
    ctx = case.context(version="champion")
    assert (start_source.state(ctx), start_source.stored(ctx)) == ({"start": None}, None)


def test_a_file_is_named_by_what_it_holds_and_kept_in_the_store(case: _Case, home: Path) -> None:
    file, ctx = home / "backbone.weights.h5", case.context(weights="backbone.weights.h5")
    file.write_bytes(b"weights")
    before = start_source.state(ctx)
    stored = start_source.fetch(ctx)
    assert stored is not None
    assert stored.name.endswith(".weights.h5")
    file.write_bytes(b"other weights")
    assert start_source.state(ctx) != before
    assert stored.read_bytes() == b"weights"
    assert start_source.fetch(ctx) != stored


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"project": "letters", "version": 7}, r"letters has no version 7.\n.*Versions there are: 1, 2"),
        ({"version": 1}, r"digits has no version 1.\n.*Versions there are: none"),
        ({"project": "numbers", "version": "champion"}, "numbers has no champion"),
        ({"weights": "none.keras"}, r"there is no file .*none\.keras"),
        ({"weights": "weights.pt"}, r"weights\.pt is no \.keras or \.weights\.h5 file"),
    ],
)
def test_what_is_not_there_is_refused(case: _Case, fields: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        start_source.state(case.context(**fields))


def test_a_version_whose_weights_are_gone_is_refused(case: _Case) -> None:
    case.platform.store.delete("letters/train/candidate-1")
    with pytest.raises(BadInput, match="the weights of letters version 1 are not in the store"):
        start_source.stored(case.context(project="letters", version=1))
