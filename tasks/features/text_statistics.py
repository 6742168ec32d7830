"""Statistics of strings: the most frequent values and terms, for `tasks.features.analyzers`."""

import heapq
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tasks.features.analyzers import Statistic


class Values(Statistic):
    """The ``sizes`` most frequent values of each column, the smaller first of two as frequent.

    Gives all columns' values one after the other, and how many each column has.
    """

    outputs = ((tf.string, [None]), (tf.int64, [None]))

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def of(self, batch: tuple[np.ndarray, ...]) -> list[Counter[bytes]]:
        """From strings (n, columns)."""
        return [_counted(column) for column in batch[0].T]

    def plus(self, one: list[Counter[bytes]], other: list[Counter[bytes]]) -> list[Counter[bytes]]:
        """See `Statistic`."""
        for mine, others in zip(one, other, strict=True):
            mine.update(others)
        return one

    def result(self, told: list[Counter[bytes]]) -> tuple[list[bytes], np.ndarray]:
        """See `Statistic`."""
        kept = [_most_frequent(counter, size) for counter, size in zip(told, self.sizes, strict=True)]
        return [value for values in kept for value in values], np.array([len(values) for values in kept])


class Terms(Statistic):
    """The ``size`` terms that are in the most texts, and their inverse document frequencies, float32.

    Smooth: ln((1 + texts) / (1 + texts with the term)) + 1, as if one text held every term.
    """

    outputs = ((tf.string, [None]), (tf.float32, [None]))

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def of(self, batch: tuple[np.ndarray, ...]) -> tuple[int, Counter[bytes]]:
        """From the terms of all texts, one text after the other, and the number of each text's terms."""
        terms, lengths = batch
        codes = pa.array(terms, pa.binary()).dictionary_encode()
        words = codes.dictionary.to_pylist()
        texts = np.repeat(np.arange(len(lengths)), lengths)
        once = np.unique(texts * (len(words) + 1) + np.asarray(codes.indices, np.int64)) % (len(words) + 1)
        return len(lengths), Counter(dict(zip(words, np.bincount(once, minlength=len(words)).tolist(), strict=True)))

    def plus(self, one: tuple[int, Counter[bytes]], other: tuple[int, Counter[bytes]]) -> tuple[int, Counter[bytes]]:
        """See `Statistic`."""
        one[1].update(other[1])
        return one[0] + other[0], one[1]

    def result(self, told: tuple[int, Counter[bytes]]) -> tuple[list[bytes], np.ndarray]:
        """See `Statistic`."""
        texts, counter = told
        # A split without a single word still makes a graph.
        terms = _most_frequent(counter, self.size) or [b""]
        frequency = np.array([counter[term] for term in terms])
        return terms, (np.log((1 + texts) / (1 + frequency)) + 1).astype(np.float32)


def _counted(values: np.ndarray) -> Counter[bytes]:
    counts = pc.value_counts(pa.array(values, pa.binary()))
    return Counter(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))


def _most_frequent(counter: Counter[bytes], size: int) -> list[bytes]:
    return [value for value, _ in heapq.nsmallest(size, counter.items(), key=lambda item: (-item[1], item[0]))]
