"""The strings' part of the transform graph: values and terms become dimensions.

Vocabularies are looked up by 63-bit fingerprints in a sorted constant: no table to initialize, and one search for all.
Two of a million words share a fingerprint once in ten million vocabularies.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tasks.core.layout import Layout
from tasks.core.spec import Categorical, Crossed, Hashed, TextTerms, Vocabulary
from tasks.core.spec import Sequence as InOrder
from tasks.features.analyzers import analyze
from tasks.features.text_statistics import Terms, Values
from tasks.runtime.table_features import WORD

OTHER = "(other)"
"""The last dimension of a vocabulary: every value that it does not list."""


ENDED, UNKNOWN = 0, 1
"""Places in the vocabulary of a sequence that no word of it has: behind the text's end, and for all other words."""


class Block(NamedTuple):
    """A group in the output: float32 (N, D), what its D dimensions are called, and what they are."""

    values: tf.Tensor
    names: Sequence[str]
    layout: Layout


def encode_columns(
    features: Sequence[Categorical | Crossed], inputs: Mapping[str, tf.Tensor], names: Mapping[str, Sequence[str]]
) -> dict[str, Block]:
    """One-hot encodings of the columns of string groups; one analyzer finds all their vocabularies.

    Args:
        inputs: feature group to strings (N, F).
        names: feature group to its F columns.
    """
    sizes = {f.group: f.encode.size for f in features if isinstance(f.encode, Vocabulary)}
    found = iter(_vocabularies([inputs[g] for g in sizes], [size for g, size in sizes.items() for _ in names[g]]))
    blocks = {}
    for feature in features:
        columns = zip(names[feature.group], tf.unstack(inputs[feature.group], axis=1), strict=True)
        if isinstance(feature.encode, Vocabulary):
            encoded = {name: _one_hot(name, values, next(found)) for name, values in columns}
        else:
            encoded = {name: _hashed(name, values, feature.encode) for name, values in columns}
        blocks[feature.group] = _beside(encoded)
    return blocks


def encode_terms(feature: TextTerms, texts: tf.Tensor) -> Block:
    """Tf-idf weights of a text's terms, or counts of their hashes; the vector's length is 1, or 0 without any term.

    Of a sequence, the places of its words, see `_in_order`.

    Args:
        texts: strings (N, 1).
    """
    terms = _terms(texts[:, 0], feature.ngrams)
    if isinstance(feature.encode, Hashed):
        buckets = feature.encode.buckets
        places = tf.strings.to_hash_bucket_fast(terms.values, buckets)
        names = [f"{feature.column}#{n}" for n in range(buckets)]
        return Block(_unit(_counts(terms, places, buckets)), names, Layout.one("number", buckets))
    words, weights = analyze(Terms(feature.encode.size), terms.values, terms.row_lengths())
    known = tf.get_static_value(words)
    if isinstance(feature.encode, InOrder):
        return _in_order(feature.column, terms, words, feature.encode.length)
    if known is None:
        return _stand_in(texts)
    counts = _counts(terms, _places(terms.values, words), len(known))
    names = [f"{feature.column}={_text(word)}" for word in known]
    return Block(_unit(counts * weights), names, Layout.one("number", len(known)))


def _in_order(column: str, terms: tf.RaggedTensor, words: tf.Tensor, length: int) -> Block:
    """The first ``length`` words of each text as `UNKNOWN` or 2 + their place among ``words``, then `ENDED`."""
    known = tf.get_static_value(words)
    places = tf.maximum(_places(terms.values, words) + 2, UNKNOWN)
    rows = terms.with_values(places).to_tensor(ENDED, shape=(None, length))
    layout = Layout.one("tokens", length, 2 + (0 if known is None else len(known)))
    return Block(tf.cast(rows, tf.float32), [f"{column}[{n}]" for n in range(length)], layout)


def _terms(texts: tf.Tensor, ngrams: int) -> tf.RaggedTensor:
    """Words in lower case and runs of up to ``ngrams`` of them; a word is what text statistics count as one."""
    spaced = tf.strings.regex_replace(tf.strings.lower(texts, "utf-8"), f"[^{WORD[1:-1]}]+", " ")
    words = tf.strings.split(spaced)
    return tf.strings.ngrams(words, tuple(range(1, ngrams + 1))) if ngrams > 1 else words


def _vocabularies(groups: Sequence[tf.Tensor], sizes: Sequence[int]) -> Sequence[np.ndarray | None]:
    """The words of each column of the groups; None while they are not known."""
    if not groups:
        return []
    words, counts = (tf.get_static_value(found) for found in analyze(Values(sizes), tf.concat(groups, axis=1)))
    return [None] * len(sizes) if words is None else np.split(words, np.cumsum(counts)[:-1])


def _one_hot(name: str, values: tf.Tensor, words: np.ndarray | None) -> Block:
    if words is None:
        return _stand_in(values)
    names = [*(f"{name}={_text(word)}" for word in words), f"{name} {OTHER}"]
    places = _places(values, tf.constant(words))
    hot = tf.one_hot(tf.where(places < 0, len(words), places), len(names))
    return Block(hot, names, Layout.one("category", len(names)))


def _hashed(name: str, values: tf.Tensor, encode: Hashed) -> Block:
    buckets = encode.buckets
    hot = tf.one_hot(tf.strings.to_hash_bucket_fast(values, buckets), buckets)
    return Block(hot, [f"{name}#{n}" for n in range(buckets)], Layout.one("category", buckets))


def _places(values: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """Each value's place among the words, -1 where it is none of them: int32 (N)."""
    prints = _fingerprints(words)
    order = tf.argsort(prints)
    ladder = tf.gather(prints, order)
    wanted = _fingerprints(values)
    step = tf.minimum(tf.searchsorted(ladder, wanted), tf.size(words) - 1)
    return tf.where(tf.gather(ladder, step) == wanted, tf.gather(order, step), -1)


def _fingerprints(strings: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(strings, np.iinfo(np.int64).max)


def _counts(terms: tf.RaggedTensor, places: tf.Tensor, width: int) -> tf.Tensor:
    """How often each place stands in each row: float32 (N, width); places below 0 are left out."""
    rows, places = terms.value_rowids(), tf.cast(places, tf.int64)
    flat = tf.where(places < 0, tf.constant(-1, tf.int64), rows * width + places)
    ones = tf.ones_like(flat, tf.float32)
    return tf.reshape(tf.math.unsorted_segment_sum(ones, flat, terms.nrows() * width), (-1, width))


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(vectors, tf.norm(vectors, axis=1, keepdims=True))


def _beside(blocks: Mapping[str, Block]) -> Block:
    """The columns of a group."""
    values = tf.concat([block.values for block in blocks.values()], axis=1)
    layout = Layout.beside({name: block.layout for name, block in blocks.items()})
    return Block(values, [name for block in blocks.values() for name in block.names], layout)


def _stand_in(values: tf.Tensor) -> Block:
    """Before the vocabulary is known: one dimension."""
    return Block(tf.zeros((tf.shape(values)[0], 1)), ["?"], Layout.one("number", 1))


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")
