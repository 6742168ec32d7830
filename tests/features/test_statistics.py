"""The fitted statistics: right against NumPy, and to the bit the same however the rows are cut and merged."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.features import codebook as codebooks
from tasks.features import numeric_statistics
from tasks.features.analyzers import UNIT, Statistic, exact
from tasks.features.codebook import NOWHERE, Codebook, codebook, fingerprints
from tasks.features.numeric_statistics import Components, Moments, Quantiles
from tasks.features.text_statistics import Terms, Values

pytestmark = pytest.mark.slow

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=False)
NORMAL = np.random.default_rng(0).normal(3, 2, (500, 4)).astype(np.float32)


def told(statistic: Statistic, batches: Sequence[np.ndarray], order: Sequence[int]) -> tuple[np.ndarray, ...]:
    """The result over the batches, each a bundle of its own, merged in this order."""
    bundles = [statistic.add_input(statistic.create_accumulator(), (batches[n],)) for n in order]
    nothing = statistic.create_accumulator()
    half = statistic.merge_accumulators([nothing, *bundles[: len(bundles) // 2]])
    return statistic.extract_output(statistic.merge_accumulators([half, *bundles[len(bundles) // 2 :]]))


@given(arrays(np.float32, (4, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_sums_of_products_are_exact(values: np.ndarray) -> None:
    squares = np.square(values.astype(np.float64))
    assert sum(exact(squares).ravel()) == sum(Fraction(x) for x in squares.ravel().tolist()) * 2**UNIT


@settings(max_examples=30)
@given(values=arrays(np.float32, (12, 2), elements=FLOATS), order=st.permutations(range(4)))
@pytest.mark.parametrize(
    "statistic",
    [Moments(), Quantiles(3), Components(2, 2, missing=True)],
    ids=lambda statistic: type(statistic).__name__,
)
def test_the_order_of_bundles_does_not_show(statistic: Statistic, values: np.ndarray, order: Sequence[int]) -> None:
    batches = np.split(values, 4)
    straight, mixed = told(statistic, batches, range(4)), told(statistic, batches, order)
    for one, other in zip(straight, mixed, strict=True):
        assert np.array_equal(one, other, equal_nan=True)
        assert np.isfinite(one).all()


def test_moments_are_numpys_with_gaps_taken_for_the_mean() -> None:
    gaps = np.where(np.random.default_rng(1).random(NORMAL.shape) < 0.2, np.nan, NORMAL).astype(np.float32)
    (found,) = told(Moments(), np.array_split(gaps, 7), range(7))
    wide = gaps.astype(np.float64)
    mean = np.nanmean(wide, axis=0)
    deviation = np.where(np.isnan(wide), mean, wide).std(axis=0)
    np.testing.assert_allclose(found, [mean, deviation, np.nanmin(wide, axis=0), np.nanmax(wide, axis=0)], rtol=1e-12)


def test_a_large_mean_does_not_swallow_the_deviation() -> None:
    values = (1e6 + np.arange(10_000) % 2).astype(np.float32)[:, None]
    (found,) = told(Moments(), np.array_split(values, 5), range(5))
    assert found[:2, 0] == pytest.approx([1e6 + 0.5, 0.5])


def test_a_column_without_values_is_zero() -> None:
    empty = np.full((5, 1), np.nan, np.float32)
    assert told(Moments(), [empty], [0])[0].tolist() == [[0], [0], [0], [0]]
    assert told(Quantiles(4), [empty], [0])[0].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("missing", [True, False])
def test_components_are_the_eigenvectors_of_the_covariance(missing: bool) -> None:
    mixed = NORMAL @ np.random.default_rng(2).normal(0, 1, (4, 4)).astype(np.float32)
    mean, directions = told(Components(4, 4, missing), np.array_split(mixed, 3), range(3))
    np.testing.assert_allclose(mean, mixed.mean(axis=0), rtol=1e-5)
    turned = np.cov((mixed - mean) @ directions, rowvar=False, ddof=0)
    np.testing.assert_allclose(turned, np.diag(np.sort(np.linalg.eigvalsh(np.cov(mixed.T, ddof=0)))[::-1]), atol=1e-4)
    assert (np.take_along_axis(directions, abs(directions).argmax(axis=0)[None], axis=0) > 0).all()


@given(arrays(np.float32, st.integers(1, 60), elements=FLOATS), st.integers(2, 9))
def test_quantiles_are_numpys(values: np.ndarray, buckets: int) -> None:
    known = values[~np.isnan(values)]
    (found,) = told(Quantiles(buckets), [values[:, None]], [0])
    # The smallest value with its share at or below it, without the rounding of a share.
    places = [-(-k * len(known) // buckets) - 1 for k in range(1, buckets)]
    assert found[0].tolist() == (np.sort(known)[places].tolist() if len(known) else [0] * (buckets - 1))


def test_more_values_than_are_kept_apart_are_cut_alike_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numeric_statistics, "DISTINCT", 64)
    values = np.random.default_rng(3).normal(0, 5, (20_000, 1)).astype(np.float32)
    batches = np.array_split(values, 9)
    (found,) = told(Quantiles(10), batches, range(9))
    for order in (range(8, -1, -1), [4, 0, 8, 2, 6, 1, 3, 7, 5]):
        assert np.array_equal(told(Quantiles(10), batches, order)[0], found)
    shares = np.bincount(np.digitize(values[:, 0], found[0]), minlength=10) / len(values)
    np.testing.assert_allclose(shares, 0.1, atol=0.07)


@given(st.lists(st.text(max_size=2), min_size=1), st.integers(1, 4), st.data())
def test_the_most_frequent_values_in_any_order(values: list[str], size: int, data: st.DataObject) -> None:
    encoded = [np.array([[value.encode()]], object) for value in values]
    order = data.draw(st.permutations(range(len(values))))
    found, sizes = told(Values([size]), encoded, order)
    counts = {value: values.count(value) for value in values}
    assert found == sorted((v.encode() for v in counts), key=lambda v: (-counts[v.decode()], v))[:size]
    assert sizes.tolist() == [len(found)]


def test_a_term_counts_once_in_a_text() -> None:
    texts = np.array([b"a", b"a", b"b", b"b"], object), np.array([2, 0, 2])
    words, weights = Terms(2).extract_output(Terms(2).add_input(None, texts))
    assert words == [b"a", b"b"]
    np.testing.assert_allclose(weights, np.log([4 / 2, 4 / 2]) + 1, rtol=1e-6)


def test_texts_without_terms_still_give_a_dimension() -> None:
    empty = np.array([], object), np.array([0, 0])
    words, _ = Terms(5).extract_output(Terms(5).add_input(None, empty))
    assert words == [b""]


def clouds(count: int) -> np.ndarray:
    """Descriptors around eight centres."""
    random = np.random.default_rng(4)
    centres = random.uniform(0, 255, (8, 16))
    return (centres[random.integers(0, 8, count)] + random.normal(0, 3, (count, 16))).astype(np.float32)


def test_words_are_the_centres_of_the_clouds() -> None:
    points = clouds(4000)
    words = codebook(points, 8)
    squared = np.square(points[:, None] - words).sum(axis=2).min(axis=1)
    assert squared.mean() == pytest.approx(16 * 9, rel=0.05)


def test_fewer_descriptors_than_words_are_words_themselves() -> None:
    points = clouds(3)
    words = codebook(points, 5)
    assert np.array_equal(words[:3], points)
    assert (words[3:] == NOWHERE).all()


def test_the_sample_of_descriptors_does_not_depend_on_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebooks, "DESCRIPTORS", 100)
    images = clouds(3000).reshape(300, -1)
    images[::7] = -1
    batches = np.array_split(images, 6)
    (one,) = told(Codebook(4, 16), batches, range(6))
    (other,) = told(Codebook(4, 16), batches, [3, 0, 5, 1, 4, 2])
    assert np.array_equal(one, other)
    assert one.min() >= 0


def test_fingerprints_tell_vectors_apart() -> None:
    points = clouds(5000)
    points[1::2] = points[::2]
    points[1::4, 3] += 1
    assert len(np.unique(fingerprints(points))) == len(np.unique(points, axis=0))
