"""Visual words: k-means over SIFT descriptors (Lloyd, 1982), started by k-means++ (Arthur and Vassilvitskii, 2007)."""

import numpy as np
import tensorflow as tf

from tasks.features.analyzers import Statistic

DESCRIPTORS = 2**15
"""Descriptors that a codebook is fitted on, at most."""

ROUNDS = 15
"""Of Lloyd's algorithm; histograms of words gain nothing from the last digits of its centres."""

NOWHERE = -1e4
"""Every coordinate of a word that no descriptor is for: SIFT's are 0 to 255."""

SEED = 0


class Codebook(Statistic):
    """The visual words of SIFT descriptors: float32 (words, length).

    Fitted on the `DESCRIPTORS` distinct descriptors of the lowest fingerprints: a sample that no order of rows changes.
    """

    def __init__(self, words: int, length: int) -> None:
        super().__init__()
        self.words, self.length = words, length
        self.outputs = ((tf.float32, [words, length]),)

    def of(self, batch: tuple[np.ndarray, ...]) -> np.ndarray:
        """From float32 (n, keypoints * length), absent descriptors -1."""
        descriptors = batch[0].reshape(-1, self.length)
        return _sample(descriptors[descriptors[:, 0] >= 0])

    def plus(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """See `Statistic`."""
        return _sample(np.concatenate([one, other]))

    def result(self, told: np.ndarray) -> tuple[np.ndarray]:
        """See `Statistic`."""
        return (codebook(told, self.words),)


def _sample(descriptors: np.ndarray) -> np.ndarray:
    _, first = np.unique(fingerprints(descriptors), return_index=True)
    return descriptors[first[:DESCRIPTORS]]


def fingerprints(vectors: np.ndarray) -> np.ndarray:
    """64 bits of each row of float32 (n, F), uint64 (n): equal rows have equal ones, others as good as never."""
    odd = np.random.default_rng(SEED).integers(0, 2**63, vectors.shape[1], np.uint64) * 2 + 1
    words = np.ascontiguousarray(vectors, np.float32).view(np.uint32).astype(np.uint64)
    mixed = words @ odd
    mixed ^= mixed >> np.uint64(32)
    return mixed * np.uint64(0x9E3779B97F4A7C15)


def codebook(vectors: np.ndarray, words: int) -> np.ndarray:
    """The centres of ``words`` clusters of float32 (n, F): float32 (words, F).

    Where there are no more distinct vectors than words, each is a word, and the rest are `NOWHERE`.
    """
    if len(vectors) <= words:
        rest = np.full((words - len(vectors), vectors.shape[1]), NOWHERE, np.float32)
        return np.concatenate([vectors, rest])
    points = vectors.astype(np.float64)
    centres = _spread(points, words)
    for _ in range(ROUNDS):
        members = (np.square(centres).sum(axis=1) - 2 * (points @ centres.T)).argmin(axis=1)
        order = np.argsort(members, kind="stable")
        used, starts = np.unique(members[order], return_index=True)
        sums = np.add.reduceat(points[order], starts)
        centres[used] = sums / np.diff([*starts, len(points)])[:, None]
    return centres.astype(np.float32)


def _spread(points: np.ndarray, words: int) -> np.ndarray:
    """Starting centres: each next one drawn in proportion to its squared distance from those drawn before."""
    random, lengths = np.random.default_rng(SEED), np.square(points).sum(axis=1)
    distance, drawn = np.ones(len(points)), []
    for _ in range(words):
        ladder = distance.cumsum()
        place = np.searchsorted(ladder, random.random() * ladder[-1], side="right")
        drawn.append(min(int(place), len(points) - 1))
        apart = lengths - 2 * (points @ points[drawn[-1]]) + lengths[drawn[-1]]
        distance = np.clip(apart, 0, distance if len(drawn) > 1 else None)
    return points[drawn]
