"""Near-duplicates: hashes that stay when a picture is stored anew, and clusters that brute force finds, too."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from tasks.core.spec import Image
from tasks.runtime.images import decode
from tasks.runtime.near import groups, perceptual_hash

SIZE = Image(height=64, width=64, channels=3)


def picture(seed: int, side: int = 200) -> Pillow.Image:
    """Random smooth colours with sharp discs."""
    random = np.random.default_rng(seed)
    smooth = Pillow.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).resize((side, side), Pillow.BICUBIC)
    image, (y, x) = np.array(smooth), np.mgrid[:side, :side]
    for _ in range(5):
        row, column, radius = random.integers([0, 0, 10], [side, side, 40])
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = random.integers(0, 256, 3)
    return Pillow.fromarray(image)


def hash_of(image: Pillow.Image, form: str = "PNG", **options: object) -> int:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return perceptual_hash(decode(buffer.getvalue(), SIZE))


def distance(first: int, second: int) -> int:
    return ((first ^ second) & (2**64 - 1)).bit_count()


@pytest.mark.parametrize("seed", range(8))
def test_a_picture_stored_anew_has_nearly_the_same_hash(seed: int) -> None:
    original = picture(seed)
    found = hash_of(original)
    assert -(2**63) <= found < 2**63
    assert distance(found, hash_of(original, "JPEG", quality=40)) <= 4
    assert distance(found, hash_of(original, "WEBP", quality=50)) <= 4
    assert distance(found, hash_of(original.resize((111, 90)))) <= 4
    assert distance(found, hash_of(original.resize((512, 512)), "JPEG")) <= 4
    assert distance(found, hash_of(original.convert("L"))) <= 2


def test_other_pictures_have_far_hashes() -> None:
    hashes = [hash_of(picture(seed)) for seed in range(20)]
    assert min(distance(a, b) for n, a in enumerate(hashes) for b in hashes[:n]) > 12


def test_frames_of_one_level_are_alike_when_their_levels_are() -> None:
    black, dark, white = (perceptual_hash(np.full((9, 9, 1), level, np.uint8)) for level in (0, 1, 255))
    assert black == 0
    assert distance(black, dark) == 8
    assert distance(black, white) == 64
    assert perceptual_hash(np.full((30, 4, 3), 255, np.uint8)) == white


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 8, 1), (3, 500, 3)])
def test_any_size_has_a_hash(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert perceptual_hash(pixels) == perceptual_hash(np.asfortranarray(pixels))


def brute_force(hashes: list[int], bits: int) -> list[int]:
    """The lowest row that each row reaches by steps of at most ``bits``."""
    lowest = list(range(len(hashes)))
    changed = True
    while changed:
        changed = False
        for a in range(len(hashes)):
            for b in range(len(hashes)):
                if lowest[b] < lowest[a] and distance(hashes[a], hashes[b]) <= bits:
                    lowest[a], changed = lowest[b], True
    return lowest


@st.composite
def clustered(draw: st.DrawFn) -> list[int]:
    """Hashes of which many differ in a few bits."""
    seeds = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3))
    members = st.tuples(st.sampled_from(seeds), st.lists(st.integers(0, 63), max_size=10))
    found = draw(st.lists(members, min_size=1, max_size=12))
    flipped = [(seed & (2**64 - 1)) ^ sum({1 << bit for bit in flips}) for seed, flips in found]
    return [value - 2**64 if value >= 2**63 else value for value in flipped]


@settings(max_examples=40, deadline=None)
@given(hashes=clustered(), bits=st.integers(0, 8))
def test_clusters_are_those_of_brute_force(hashes: list[int], bits: int) -> None:
    assert groups(np.array(hashes, np.int64), bits).tolist() == brute_force(hashes, bits)


@pytest.mark.parametrize("bits", range(9))
def test_no_pair_within_reach_is_missed(bits: int) -> None:
    random = np.random.default_rng(bits)
    hashes = random.integers(-(2**63), 2**63, 2000)
    for row in range(1000):
        flips = sum(1 << int(bit) for bit in random.choice(64, bits, replace=False))
        hashes[1000 + row] = hashes[row] ^ np.uint64(flips).astype(np.int64)
    assert groups(hashes, bits).tolist() == [*range(1000), *range(1000)]


def test_a_chain_is_one_cluster() -> None:
    random = np.random.default_rng(0)
    chain = np.cumsum([0, *(1 << np.arange(40))])
    shuffled = random.permutation(chain)
    assert set(groups(shuffled, 1)) == {0}
    assert groups(shuffled, 0).tolist() == list(range(41))


def test_rows_without_a_hash_stay_alone() -> None:
    hashes, known = np.array([5, 5, 5, 5, 4]), np.array([False, True, False, True, True])
    assert groups(hashes, 0, known).tolist() == [0, 1, 2, 1, 4]
    assert groups(hashes, 1, known).tolist() == [0, 1, 2, 1, 1]
    assert groups(np.array([], np.int64), 3).tolist() == []
    assert groups(hashes, 3, np.zeros(5, bool)).tolist() == [0, 1, 2, 3, 4]
