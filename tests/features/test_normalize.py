"""The transform graph against scikit-learn and NumPy, and the same bits whatever runs Beam and in whatever order."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf2onnx
from onnxruntime import InferenceSession
from pydantic import TypeAdapter
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, StandardScaler, normalize

from tasks.core.layout import Layout
from tasks.core.settings import settings
from tasks.core.shards import pack, read_table, write_split
from tasks.core.spec import Feature
from tasks.features.transform import fit, load, raw_names
from tasks.runtime.image_features import DESCRIPTOR
from tasks.runtime.table_features import is_text

pytestmark = pytest.mark.slow

NUMBERS = ["a", "b", "c", "flat"]
FEATURES: tuple[Feature, ...] = TypeAdapter(tuple[Feature, ...]).validate_python(
    [
        {"kind": "numeric", "columns": NUMBERS},
        {"kind": "numeric", "name": "scaled", "columns": NUMBERS, "normalize": {"kind": "min_max"}},
        {"kind": "numeric", "name": "unit", "columns": NUMBERS, "normalize": {"kind": "l2"}},
        {"kind": "numeric", "name": "turned", "columns": NUMBERS, "normalize": {"kind": "pca", "components": 3}},
        {"kind": "numeric", "name": "binned", "columns": ["a", "b"], "normalize": {"kind": "bucketize", "buckets": 5}},
        {"kind": "numeric", "name": "plain", "columns": ["a"], "normalize": {"kind": "none"}},
        {"kind": "image_stats", "normalize": {"kind": "pca", "components": 2}},
        {"kind": "categorical", "columns": ["x", "y"], "encode": {"kind": "vocabulary", "size": 3}},
        {"kind": "categorical", "name": "second", "columns": ["z"], "encode": {"kind": "vocabulary", "size": 50}},
        {"kind": "crossed", "columns": ["x", "y"], "encode": {"kind": "hash", "buckets": 16}},
        {"kind": "text", "column": "note", "ngrams": 2, "encode": {"kind": "vocabulary", "size": 30}},
        {"kind": "text", "name": "terms", "column": "note", "encode": {"kind": "hash", "buckets": 32}},
        {"kind": "text", "name": "order", "column": "note", "encode": {"kind": "sequence", "size": 6, "length": 5}},
        {"kind": "sift", "keypoints": 3, "words": 8},
    ]
)
ROWS, SHARDS = 900, 4
Groups = dict[str, np.ndarray]


def rows(count: int, seed: int) -> Groups:
    """Raw feature groups: numbers with gaps and a constant column, skewed categories, texts, and few descriptors."""
    random = np.random.default_rng(seed)
    numbers = (random.normal(0, 1, (count, 4)) @ random.normal(0, 1, (4, 4)) + [5, -50, 0, 0]).astype(np.float32)
    numbers[random.random(numbers.shape) < 0.1] = np.nan
    numbers[:, 3] = 0.3
    colours = np.array(["red", "green", "blue", "", "Grün", "rare"], object)
    words = np.array(
        ["The", "quick", "brown", "FOX", "jumps", "over", "lazy", "dogs,", "Émile", "naïve_1", "42"], object
    )
    texts = [" ".join(random.choice(words, random.integers(0, 9))) for _ in range(count)]
    descriptors = prototypes()[random.integers(0, 5, (count, 3))]
    descriptors[random.random((count, 3)) < 0.3] = -1
    categories = colours[np.minimum(random.geometric(0.4, (count, 3)) - 1, 5)]
    notes = np.array(texts, object)[:, None]
    return {
        **dict.fromkeys(["numeric", "scaled", "unit", "turned"], numbers),
        "binned": numbers[:, :2],
        "plain": numbers[:, :1],
        "image_stats": random.gamma(2, 3, (count, 5)).astype(np.float32),
        "categorical": categories[:, :2],
        "second": categories[:, 2:],
        "crossed": np.array(["\x1f".join(pair) for pair in categories[:, :2]], object)[:, None],
        "text": notes,
        "terms": notes,
        "order": notes,
        "sift": descriptors.reshape(count, -1),
    }


def prototypes() -> np.ndarray:
    return np.random.default_rng(9).integers(0, 256, (5, DESCRIPTOR)).astype(np.float32)


@dataclass(frozen=True)
class Fitted:
    """A graph, what it was fitted on, and its output for that, by group."""

    train: Groups
    run: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    names: list[str]
    layout: Layout

    def block(self, group: str, groups: Groups | None = None) -> np.ndarray:
        """The columns of one group in the output."""
        return self.run(groups or self.train)[:, self.places(group)]

    def places(self, group: str) -> list[int]:
        return [n for n, name in enumerate(self.names) if name.startswith(f"{group}.")]

    def dimensions(self, group: str) -> list[str]:
        return [self.names[n].removeprefix(f"{group}.") for n in self.places(group)]


def written(folder: Path, groups: Groups, shards: int) -> list[Path]:
    count, per_shard = len(groups["numeric"]), -(-len(groups["numeric"]) // shards)
    none = [""] * count
    table = pack(None, groups, np.zeros(count), none, none, np.zeros(count, "M8[us]"))
    return write_split(folder, "train", table, per_shard)


def fitted(folder: Path, groups: Groups, shards: int = SHARDS, backwards: bool = False) -> Fitted:
    paths = written(folder, groups, shards)
    raw = raw_names(FEATURES, None, read_table(folder, "train").schema)
    fit(paths[::-1] if backwards else paths, FEATURES, raw, folder / "transform_fn", folder / "beam")
    return Fitted(groups, *load(folder / "transform_fn"))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitted(tmp_path_factory.mktemp("graph"), rows(ROWS, 1))


def filled(graph: Fitted, values: np.ndarray) -> np.ndarray:
    """Missing numbers taken for the mean of the training rows, in float64."""
    return SimpleImputer().fit(graph.train["numeric"].astype(np.float64)).transform(values.astype(np.float64))


@pytest.fixture(scope="module", params=["the rows it was fitted on", "other rows"])
def some(request: pytest.FixtureRequest, graph: Fitted) -> Iterator[Groups]:
    yield graph.train if request.param == "the rows it was fitted on" else rows(60, 2)


def test_every_dimension_has_a_name_of_its_own(graph: Fitted) -> None:
    assert len(set(graph.names)) == len(graph.names) == graph.run(graph.train).shape[1]
    assert graph.run(graph.train).dtype == np.float32
    assert list(dict.fromkeys(name.partition(".")[0] for name in graph.names)) == [f.group for f in FEATURES]


def test_z_scores_are_those_of_scikit_learn(graph: Fitted, some: Groups) -> None:
    scaler = StandardScaler().fit(filled(graph, graph.train["numeric"])[:, :3])
    expected = scaler.transform(filled(graph, some["numeric"])[:, :3])
    np.testing.assert_allclose(graph.block("numeric", some)[:, :3], expected, atol=2e-5)


def test_min_max_is_that_of_scikit_learn(graph: Fitted, some: Groups) -> None:
    scaler = MinMaxScaler().fit(filled(graph, graph.train["numeric"])[:, :3])
    expected = scaler.transform(filled(graph, some["numeric"])[:, :3])
    np.testing.assert_allclose(graph.block("scaled", some)[:, :3], expected, atol=1e-5)


def test_l2_is_that_of_scikit_learn(graph: Fitted, some: Groups) -> None:
    np.testing.assert_allclose(graph.block("unit", some), normalize(filled(graph, some["numeric"])), atol=1e-6)


@pytest.mark.parametrize(("group", "components"), [("turned", 3), ("image_stats", 2)])
def test_principal_components_are_those_of_scikit_learn(
    graph: Fitted, some: Groups, group: str, components: int
) -> None:
    def known(values: np.ndarray) -> np.ndarray:
        return filled(graph, values) if group == "turned" else values.astype(np.float64)

    reference = PCA(components, svd_solver="full").fit(known(graph.train[group]))
    expected = reference.transform(known(some[group]))
    found = graph.block(group, some)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-4)


def test_buckets_hold_what_lies_between_the_quantiles(graph: Fitted, some: Groups) -> None:
    one_hot = graph.block("binned", some).reshape(-1, 2, 5)
    known = filled(graph, some["numeric"]).astype(np.float32)
    for column in range(2):
        present = graph.train["binned"][:, column]
        edges = np.quantile(present[~np.isnan(present)], [0.2, 0.4, 0.6, 0.8], method="inverted_cdf")
        assert np.array_equal(one_hot[:, column].argmax(axis=1), np.digitize(known[:, column], edges))
    assert np.array_equal(one_hot.sum(axis=2), np.ones_like(one_hot[:, :, 0]))


def test_buckets_of_the_training_rows_are_about_equal(graph: Fitted) -> None:
    present = ~np.isnan(graph.train["binned"][:, 0])
    shares = graph.block("binned")[present][:, :5].mean(axis=0)
    np.testing.assert_allclose(shares, 0.2, atol=0.005)


def test_none_changes_no_number(graph: Fitted, some: Groups) -> None:
    given = some["plain"]
    present = ~np.isnan(given)
    assert np.array_equal(graph.block("plain", some)[present], given[present])


@pytest.mark.parametrize("group", ["numeric", "scaled"])
def test_a_constant_column_stays_small_even_when_it_moves(graph: Fitted, group: str) -> None:
    assert abs(graph.block(group)[:, 3]).max() < 1e-5
    moved = {**graph.train, group: graph.train[group] + np.float32([0, 0, 0, 0.5])}
    np.testing.assert_allclose(graph.block(group, moved)[:, 3], 0.5, atol=1e-5)


def test_a_row_without_any_number_is_an_average_one(graph: Fitted) -> None:
    empty = {group: values[:1] for group, values in graph.train.items()}
    empty |= {g: np.full_like(empty[g], np.nan) for g in ("numeric", "scaled", "unit", "turned", "binned", "plain")}
    row = graph.run(empty)
    assert np.isfinite(row).all()
    np.testing.assert_allclose(row[:, graph.places("numeric") + graph.places("turned")], 0, atol=1e-5)


def test_a_vocabulary_holds_the_most_frequent_values(graph: Fitted, some: Groups) -> None:
    for n, column in enumerate("xy"):
        counts = Counter(graph.train["categorical"][:, n])
        kept = sorted(counts, key=lambda value: (-counts[value], value.encode()))[:3]
        dimensions = [*(f"{column}={value}" for value in kept), f"{column} (other)"]
        assert graph.dimensions("categorical")[4 * n : 4 * n + 4] == dimensions
        expected = [[value == word for word in kept] + [value not in kept] for value in some["categorical"][:, n]]
        assert np.array_equal(graph.block("categorical", some)[:, 4 * n : 4 * n + 4], np.array(expected, np.float32))


def test_a_vocabulary_is_no_larger_than_it_need_be(graph: Fitted) -> None:
    seen = {f"z={value}" for value in graph.train["second"][:, 0]}
    assert {*graph.dimensions("second")} == seen | {"z (other)"}
    unseen = {**graph.train, "second": np.full_like(graph.train["second"], "never seen")}
    assert np.array_equal(graph.block("second", unseen)[:, -1], np.ones(ROWS))


def test_equal_values_share_a_hashed_dimension(graph: Fitted) -> None:
    one_hot = graph.block("crossed")
    assert np.array_equal(one_hot.sum(axis=1), np.ones(ROWS))
    places: dict[str, set[int]] = {}
    for value, place in zip(graph.train["crossed"][:, 0], one_hot.argmax(axis=1), strict=True):
        places.setdefault(value, set()).add(int(place))
    assert all(len(found) == 1 for found in places.values())
    assert len(set.union(*places.values())) > len(places) / 3


def test_tf_idf_is_that_of_scikit_learn(graph: Fitted, some: Groups) -> None:
    terms = [name.removeprefix("note=") for name in graph.dimensions("text")]
    reference = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", vocabulary=terms)
    reference.fit(graph.train["text"][:, 0])
    expected = reference.transform(some["text"][:, 0]).toarray()
    np.testing.assert_allclose(graph.block("text", some), expected, atol=1e-6)


def test_terms_are_those_in_most_texts(graph: Fitted) -> None:
    counter = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", use_idf=False, norm=None, binary=True)
    texts = counter.fit_transform(graph.train["text"][:, 0]).sum(axis=0).A1
    found = dict(zip(counter.get_feature_names_out(), texts, strict=True))
    kept = sorted(found, key=lambda term: (-found[term], term.encode()))[:30]
    assert graph.dimensions("text") == [f"note={term}" for term in kept]


def test_hashed_terms_are_counts_of_length_1(graph: Fitted, some: Groups) -> None:
    found = graph.block("terms", some)
    wordless = np.array([not text.strip() for text in some["terms"][:, 0]])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.where(wordless, 0, 1), atol=1e-6)
    once, twice = ({**some, "terms": np.array([[text]], object)} for text in ("fox dogs dogs", "dogs fox, DOGS"))
    one = {group: values[:1] for group, values in once.items()}
    other = {group: values[:1] for group, values in twice.items()}
    assert np.array_equal(graph.block("terms", one), graph.block("terms", other))
    assert sorted(graph.block("terms", one)[0])[-2:] == pytest.approx([1 / 5**0.5, 2 / 5**0.5])


def test_a_sequence_holds_the_places_of_the_most_frequent_words(graph: Fitted, some: Groups) -> None:
    # Places are ranks by the number of texts, as in the vocabulary of tf-idf; 0 has ended, 1 is any other word.
    ranked = [name.removeprefix("note=") for name in graph.dimensions("text") if " " not in name]
    known = {word: rank + 2 for rank, word in enumerate(ranked[:6])}
    texts = [re.findall(r"\w+", text.lower())[:5] for text in some["order"][:, 0]]
    expected = [[*(known.get(word, 1) for word in text), *[0] * (5 - len(text))] for text in texts]
    assert np.array_equal(graph.block("order", some), np.array(expected, np.float32))
    assert graph.dimensions("order") == [f"note[{n}]" for n in range(5)]


def test_the_layout_tells_what_every_dimension_is(graph: Fitted) -> None:
    found = {each.name: (each.kind, each.width, each.size) for each in graph.layout.slices}
    assert [each.start for each in graph.layout.slices] == [0, *(each.stop for each in graph.layout.slices[:-1])]
    assert graph.layout.width == len(graph.names)
    assert found == {
        **{group: ("number", 4, 0) for group in ("numeric", "scaled", "unit")},
        **{"turned": ("number", 3, 0), "binned.a": ("category", 5, 0), "binned.b": ("category", 5, 0)},
        **{"plain": ("number", 1, 0), "image_stats": ("number", 2, 0)},
        **{"categorical.x": ("category", 4, 0), "categorical.y": ("category", 4, 0)},
        **{"second.z": ("category", 7, 0), "crossed.x_x_y": ("category", 16, 0)},
        **{"text": ("number", 30, 0), "terms": ("number", 32, 0)},
        **{"order": ("tokens", 5, 8), "sift": ("number", 8, 0)},
    }


def test_visual_words_are_shares_of_the_descriptors(graph: Fitted, some: Groups) -> None:
    found = graph.block("sift", some)
    descriptors = some["sift"].reshape(-1, 3, DESCRIPTOR)
    present = descriptors[:, :, 0] >= 0
    nearest = (descriptors[:, :, None] == prototypes()).all(axis=3)
    shares = (nearest & present[:, :, None]).sum(axis=1) / np.maximum(present.sum(axis=1), 1)[:, None]
    # Five descriptors and eight words: each is a word, in an order of the codebook's own.
    assert np.array_equal(np.sort(found, axis=1)[:, -5:], np.sort(shares, axis=1).astype(np.float32))
    assert np.array_equal(found.sum(axis=1) > 0, present.any(axis=1))


def test_one_row_at_a_time_gives_the_same_bits(graph: Fitted) -> None:
    together = graph.run(graph.train)
    for n in range(40):
        assert np.array_equal(graph.run({g: values[n : n + 1] for g, values in graph.train.items()})[0], together[n])


@pytest.mark.parametrize(
    ("runner", "options"),
    [
        ("DirectRunner", ""),
        ("FnApiRunner", "--direct_running_mode=multi_threading --direct_num_workers=2"),
        ("FnApiRunner", "--direct_running_mode=multi_processing --direct_num_workers=2"),
    ],
)
def test_another_runner_and_another_order_of_shards_give_the_same_graph(
    graph: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: str, options: str
) -> None:
    monkeypatch.setenv("UPDRAFT_BEAM_RUNNER", runner)
    monkeypatch.setenv("UPDRAFT_BEAM_OPTIONS", options)
    settings.cache_clear()
    try:
        other = fitted(tmp_path, graph.train, backwards=True)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    assert other.names == graph.names
    assert np.array_equal(other.run(graph.train), graph.run(graph.train))


def test_all_but_the_strings_is_made_of_what_onnx_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numeric = tuple(feature for feature in FEATURES if not is_text(feature))
    monkeypatch.setitem(globals(), "FEATURES", numeric)
    made = fitted(tmp_path, {feature.group: rows(200, 1)[feature.group] for feature in numeric})
    saved = tf.saved_model.load(str(tmp_path / "transform_fn" / "transform_fn"))
    signature = [tf.TensorSpec((None, v.shape[1]), tf.float32, name=group) for group, v in made.train.items()]

    @tf.function(input_signature=signature, autograph=False)
    def output(*groups: tf.Tensor) -> dict[str, tf.Tensor]:
        return saved.transform_fn(dict(zip(made.train, groups, strict=True)))

    model, _ = tf2onnx.convert.from_function(output, input_signature=signature, opset=18)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, made.train)
    np.testing.assert_allclose(found, made.run(made.train), atol=1e-6)
