"""Near-duplicate images: a perceptual hash that survives re-encoding and resizing, and the clusters of near hashes."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from tasks.runtime.pixels import luminance, resize

_SIDE, _KEPT = 32, 8
# Whole numbers: sums of products stay below 2^53, so they are exact in whatever order they are added.
_COSINES = np.rint(4096 * np.cos(np.pi / _SIDE * np.outer(np.arange(_KEPT), np.arange(_SIDE) + 0.5)))

_BANDS = ((0, 21), (21, 21), (42, 22))
"""First bit and width of each part of a hash."""
_PIECE = 1 << 21
"""Pairs compared at a time: 16 MB each for their hashes."""


def perceptual_hash(pixels: np.ndarray) -> int:
    """The signs of the lowest frequencies of an image (Zauner, "Perceptual image hash functions", 2010).

    Luminance is resized to 32x32; a bit tells whether one of its lowest 8x8 DCT coefficients is above their median.
    An image of one level has no frequencies: its hash repeats the level.

    Args:
        pixels: uint8 of shape (H, W, C); C is 1 or 3.

    Returns:
        A signed 64-bit integer.
    """
    small = resize(luminance(pixels), _SIDE, _SIDE).astype(np.float64)
    low = (_COSINES @ small @ _COSINES.T).ravel()
    if low[1:].any():
        middle = len(low) // 2 - 1
        bits = np.packbits(low > np.partition(low[1:], middle)[middle]).tobytes()
    else:
        bits = bytes([int(small[0, 0])] * 8)
    return int.from_bytes(bits, "big", signed=True)


def groups(hashes: np.ndarray, bits: int, known: np.ndarray | None = None) -> np.ndarray:
    """Clusters of hashes that are linked by steps of at most ``bits`` differing bits.

    Exact, by multi-index hashing (Norouzi, Punjani and Fleet, 2012): hashes that differ in few bits differ in fewer
    still in one of three parts, where they are found by table look-ups.

    Args:
        hashes: int64, (N,).
        bits: 0 to 8.
        known: bool, (N,); a row without a hash is a cluster of its own. None: every row has one.

    Returns:
        int64 (N,): the lowest row of each row's cluster.
    """
    lowest = np.arange(len(hashes))
    rows = lowest if known is None else np.flatnonzero(known)
    values, first, member = np.unique(hashes[rows].astype(np.int64).view(np.uint64), True, True)
    parent = np.arange(len(values))
    for left, right in _near_pairs(values, bits):
        _join(parent, left, right)
    root = _roots(parent, np.arange(len(values)))
    row_of = np.full(len(values), len(hashes))
    np.minimum.at(row_of, root, rows[first])
    lowest[rows] = row_of[root][member]
    return lowest


def _near_pairs(values: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of all pairs of distinct ``values`` at most ``bits`` apart; a pair may come more than once."""
    for number, (shift, width) in enumerate(_BANDS):
        # bits + 1 shared out: whoever differs in at least the share of each part differs in too many.
        share = (bits + 1 + len(_BANDS) - 1 - number) // len(_BANDS)
        keys = (values >> np.uint64(shift) & np.uint64((1 << width) - 1)).astype(np.int32)
        order = np.argsort(keys, kind="stable")
        keys, ordered = keys[order], values[order]
        start = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << width))]).astype(np.int32)
        for flips in _flips(width, share - 1):
            for left, right in _matches(keys, start, flips):
                near = np.bitwise_count(ordered[left] ^ ordered[right]) <= bits
                yield order[left[near]], order[right[near]]


def _flips(width: int, most: int) -> list[int]:
    """Every number of ``width`` bits with at most ``most`` of them set; none for -1."""
    return [sum(1 << bit for bit in chosen) for n in range(most + 1) for chosen in combinations(range(width), n)]


def _matches(keys: np.ndarray, start: np.ndarray, flips: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of the pairs of sorted ``keys`` that differ in exactly ``flips``, each pair once.

    Args:
        start: position of the first key that is k or above, for every k.
    """
    partner = keys ^ np.int32(flips)
    asking = np.flatnonzero(keys <= partner)
    begin = start[partner[asking]] if flips else asking + 1
    counts = start[partner[asking] + 1] - begin
    asking, begin, counts = (array[counts > 0] for array in (asking, begin, counts))
    pieces = np.searchsorted(np.cumsum(counts), np.arange(_PIECE, counts.sum(), _PIECE))
    for piece in np.split(np.arange(len(counts)), pieces):
        size = counts[piece]
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        yield np.repeat(asking[piece], size), np.repeat(begin[piece], size) + within


def _join(parent: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Unites the trees of each pair, all pairs at a time, under the lower root."""
    while len(left):
        left, right = _roots(parent, left), _roots(parent, right)
        apart = left != right
        left, right = left[apart], right[apart]
        np.minimum.at(parent, np.maximum(left, right), np.minimum(left, right))


def _roots(parent: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """The root of each node's tree; the paths are halved on the way."""
    while True:
        above = parent[nodes]
        top = parent[above]
        if np.array_equal(above, top):
            return above
        parent[nodes] = top
        nodes = top
