"""Slices of the feature vector as families read them: words and columns become vectors of ``spec.model.width``."""

import re
from itertools import groupby

import keras
from keras import layers, ops

from tasks.core.layout import Layout, Slice
from tasks.core.spec import Project
from tasks.models.blocks import regularizer

MOST = 64
"""Dimensions of a slice of numbers that become tokens of their own; of more, all become one."""


def label(piece: Slice) -> str:
    """The slice's name as a layer may have it; two slices never get the same."""
    return re.sub(r"[^A-Za-z0-9_.]", lambda found: f"-{ord(found[0]):x}-", piece.name)


def part(features: keras.KerasTensor, first: Slice, last: Slice | None = None) -> keras.KerasTensor:
    """The dimensions of a slice, or of all from the ``first`` to the ``last``: float32 (N, width)."""
    return features[:, first.start : (last or first).stop]


def words(piece: Slice, features: keras.KerasTensor, width: int, name: str) -> tuple[keras.KerasTensor, ...]:
    """A text's words as learnt vectors.

    Args:
        piece: of kind tokens, of L words.
        features: float32 (N, D).
        width: of a vector.
        name: the embedding's, as a layer.

    Returns:
        The vectors, (N, L, width), and whether there is a word, bool (N, L).
    """
    # Before any layer sees them: half precision would make one word of several.
    places = ops.cast(part(features, piece), "int32")
    return layers.Embedding(piece.size, width, name=name)(places), ops.not_equal(places, 0)


def mean(vectors: keras.KerasTensor, present: keras.KerasTensor) -> keras.KerasTensor:
    """Of those vectors (N, L, width) that are there, bool (N, L): float32 (N, width); zeros where there is none."""
    weights = ops.expand_dims(ops.cast(present, "float32"), 2)
    return ops.sum(vectors * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1)


def plain(spec: Project, layout: Layout, features: keras.KerasTensor) -> keras.KerasTensor:
    """The features for dense layers: numbers and one-hots as they are, a text as the mean of its words' vectors."""
    if not layout.of("tokens"):
        return features
    found = []
    for is_text, run in groupby(layout.slices, lambda piece: piece.kind == "tokens"):
        pieces = list(run)
        if is_text:
            found += [mean(*words(each, features, spec.model.width, f"{label(each)}_words")) for each in pieces]
        else:
            found.append(part(features, pieces[0], pieces[-1]))
    return beside(found)


def columns(spec: Project, layout: Layout, features: keras.KerasTensor) -> keras.KerasTensor | None:
    """Everything but texts as tokens (N, T, width): Gorishniy et al., "Revisiting Deep Learning Models for Tabular
    Data" (2021).

    A number is a token: its value times one learnt vector, plus another. A slice of more than `MOST` numbers is
    projected to one token; so is a category, whose projection is its embedding.

    Returns:
        None where there are only texts.
    """
    pieces = layout.of("number", "category")
    found = [_tokens(spec, piece, part(features, piece)) for piece in pieces]
    return beside(found) if found else None


def beside(tensors: list[keras.KerasTensor]) -> keras.KerasTensor:
    """One after the other along their second dimension."""
    return ops.concatenate(tensors, axis=1) if len(tensors) > 1 else tensors[0]


def _tokens(spec: Project, piece: Slice, values: keras.KerasTensor) -> keras.KerasTensor:
    width, name, penalty = spec.model.width, f"{label(piece)}_tokens", regularizer(spec)
    drawn = {"kernel_initializer": _uniform(width), "bias_initializer": _uniform(width)}
    if piece.kind == "number" and piece.width <= MOST:
        shape = (piece.width, width)
        layer = layers.EinsumDense("nj,jd->njd", shape, bias_axes="jd", kernel_regularizer=penalty, name=name, **drawn)
        return layer(values)
    return ops.expand_dims(layers.Dense(width, kernel_regularizer=penalty, name=name, **drawn)(values), 1)


def _uniform(width: int) -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-(width**-0.5), width**-0.5)
