"""What the families for tables and texts see in the layout: words in their order, categories, crosses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tasks.core.config import replace
from tasks.core.layout import Layout
from tasks.core.shards import pack, write_split
from tasks.core.spec import Project
from tasks.models import build_model
from tasks.packaging.inference import Inference, inputs_of
from tasks.packaging.to_saved_model import write_saved_model
from tasks.runtime.saved_model import SavedModel
from tests import packages

READERS = ("lstm", "gru", "transformer")
"""Families to which the order of words means something."""

LENGTH, SIZE = 6, 30


def text(length: int = LENGTH, size: int = SIZE) -> Layout:
    """A category and a text."""
    return Layout.beside({"sky": Layout.one("category", 3), "words": Layout.one("tokens", length, size)})


def project(family: str, **model: Any) -> Project:
    """The project ``weather``, its words as a sequence.

    Args:
        model: fields of the spec's section.
    """
    order = {"kind": "text", "column": "words", "encode": {"kind": "sequence", "size": 20, "length": 8}}
    features = [{"kind": "categorical", "columns": ["sky"]}, order]
    small = {"family": family, "width": 16, "heads": 2, "units": [16], **model}
    overrides = {f"model.{name}": value for name, value in small.items()}
    return replace(packages.project("weather"), {"features": features, **overrides})


def built(family: str, layout: Layout | None = None, **model: Any) -> keras.Model:
    """The family's model, of the same weights in each call."""
    keras.utils.set_random_seed(1)
    return build_model(project(family, **model), layout or text())


def texts(*places: Sequence[int], length: int = LENGTH) -> np.ndarray:
    """Transformed rows under the first sky, each with these words."""
    return np.array([[1, 0, 0, *row, *[0] * (length - len(row))] for row in places], np.float32)


def logits(model: keras.Model, features: np.ndarray) -> np.ndarray:
    """Of each row."""
    return np.asarray(keras.ops.convert_to_numpy(model({"features": features}, training=False)))


def fitted(model: keras.Model, features: np.ndarray, labels: np.ndarray, rate: float, epochs: int) -> keras.Model:
    """The model, trained."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    model.fit({"features": features}, labels, batch_size=32, epochs=epochs, verbose=0)
    return model


@dataclass(frozen=True)
class Said:
    """Texts through a fitted transform graph; the label is which of two words comes first."""

    transform: Path
    run: Callable[[dict[str, np.ndarray]], np.ndarray]
    layout: Layout
    groups: dict[str, np.ndarray]
    labels: np.ndarray


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    from tasks.features.transform import fit, load, raw_names

    folder, random = tmp_path_factory.mktemp("said"), np.random.default_rng(4)
    labels, rows = random.integers(0, 2, 400), []
    for label in labels:
        row = random.choice(["wind", "from", "the", "and", "sea"], random.integers(2, 9)).tolist()
        first, second = np.sort(random.choice(len(row), 2, replace=False))
        row[first], row[second] = ("north", "south") if label else ("south", "north")
        rows.append(" ".join(row))
    skies = random.choice(["sun", "rain"], (400, 1)).astype(object)
    groups = {"categorical": skies, "text": np.array(rows, object)[:, None]}
    none = [""] * 400
    table = pack(None, groups, labels, none, none, np.zeros(400, "M8[us]"))
    features = project("mlp").features
    fit(
        write_split(folder, "train", table),
        features,
        raw_names(features, None, table.schema),
        folder / "transform_fn",
        folder / "beam",
    )
    loaded = load(folder / "transform_fn")
    return Said(folder, loaded.run, loaded.layout, groups, labels)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "rate"), [("lstm", 0.01), ("gru", 0.01), ("transformer", 0.003)])
def test_the_order_of_words_is_learned_and_packaged(said: Said, family: str, rate: float, tmp_path: Path) -> None:
    features = said.run(said.groups)
    model = fitted(built(family, said.layout), features[:320], said.labels[:320], rate, epochs=25)
    found = logits(model, features)
    right = found.argmax(axis=1) == said.labels
    assert right[:320].all() and right[320:].mean() > 0.9

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    specs = inputs_of(project(family), {"categorical": 1, "text": 1})
    inference = Inference(said.transform / "transform_fn", loaded, specs, classes=True)
    write_saved_model(inference, None, tmp_path / "saved")
    packaged = SavedModel(tmp_path / "saved")
    np.testing.assert_allclose(packaged(said.groups), np.asarray(keras.ops.softmax(found)), atol=1e-6)

    others = np.array([["north zephyrs then south"], ["South, zephyrs: NORTH!"], [""]], object)
    heard = packaged({"categorical": said.groups["categorical"][:3], "text": others})
    assert heard[:2].argmax(axis=1).tolist() == [1, 0]
    assert np.isfinite(heard).all()


@pytest.mark.parametrize("family", ["mlp", "wide_and_deep"])
def test_words_matter_to_the_others_and_their_order_does_not(family: str) -> None:
    one, turned, other = logits(built(family), texts([5, 9, 7], [9, 7, 5], [9, 7, 6]))
    np.testing.assert_allclose(one, turned, rtol=1e-5)
    assert not np.allclose(one, other, rtol=1e-3)


@pytest.mark.parametrize("family", ["mlp", "wide_and_deep", *READERS])
def test_how_far_a_text_is_padded_does_not_matter(family: str) -> None:
    rows = [[5, 9, 7], [1, 1], [], [3]]
    short = built(family, depth=2)
    longer = built(family, text(2 * LENGTH), depth=2)
    weights = longer.get_weights()
    for mine, theirs in zip(weights, short.get_weights(), strict=True):
        mine[: len(theirs)] = theirs
    longer.set_weights(weights)
    found = logits(short, texts(*rows))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, logits(longer, texts(*rows, length=2 * LENGTH)), atol=1e-6)
    assert len(np.unique(found[:, 0].round(5))) == len(rows)


@pytest.mark.parametrize("family", ["mlp", "wide_and_deep", *READERS])
def test_half_precision_tells_words_apart(family: str) -> None:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = built(family, text(size=5000))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    # Float16 has no number between 4096 and 4100.
    found = logits(model, texts([4097], [4098]))
    assert found.dtype == np.float32
    assert not np.allclose(found[0], found[1], rtol=1e-3)


def test_a_cross_tells_a_linear_model_what_its_columns_do_not() -> None:
    pairs = np.array([[a, b] for a in (0, 1) for b in (0, 1)] * 16)
    labels = pairs[:, 0] ^ pairs[:, 1]
    columns = np.eye(2, dtype=np.float32)
    plain = np.concatenate([columns[pairs[:, 0]], columns[pairs[:, 1]]], axis=1)
    crossed = np.concatenate([plain, np.eye(4, dtype=np.float32)[2 * pairs[:, 0] + pairs[:, 1]]], axis=1)
    of = {"a": Layout.one("category", 2), "b": Layout.one("category", 2)}
    without = built("wide_and_deep", Layout.beside(of), units=[])
    given = built("wide_and_deep", Layout.beside({**of, "cross": Layout.one("category", 4)}), units=[])
    for model, features, expected in ((without, plain, False), (given, crossed, True)):
        right = logits(fitted(model, features, labels, 0.2, epochs=20), features).argmax(axis=1) == labels
        assert right.all() == expected


@pytest.mark.parametrize("family", ["wide_and_deep", *READERS])
def test_columns_may_have_any_name_and_slices_any_width(family: str, tmp_path: Path) -> None:
    many = {"big": Layout.one("number", 100), "Größe in m/s": Layout.one("category", 3)}
    same = {"Größe_in_m_s": Layout.one("category", 3), "few": Layout.one("number", 2)}
    model = built(family, Layout.beside({"group": Layout.beside({**many, **same})}))
    random = np.random.default_rng(0).standard_normal((3, 108)).astype(np.float32)
    found = logits(model, random)
    for dimension in (0, 99, 100, 103, 107):
        changed = random.copy()
        changed[:, dimension] += 1
        assert not np.allclose(found, logits(model, changed), rtol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(found, logits(loaded, random))


@pytest.mark.parametrize("family", READERS)
def test_a_table_of_numbers_is_read_column_by_column(family: str) -> None:
    """Equal numbers in other columns are something else."""
    found = logits(built(family, Layout.plain(4)), np.eye(4, dtype=np.float32))
    assert len(np.unique(found[:, 0].round(5))) == 4
