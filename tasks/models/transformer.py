"""A transformer encoder over the words of texts and the columns of tables.

Vaswani et al., "Attention is all you need" (2017); columns as tokens: Gorishniy et al., "Revisiting Deep Learning
Models for Tabular Data" (2021).
"""

import keras
from keras import layers, ops

from tasks.core.layout import Layout, Slice
from tasks.core.spec import Project
from tasks.models.blocks import attention, classifier, inputs, normalized
from tasks.models.tokens import beside, columns, label, mean, words


def build(spec: Project, layout: Layout) -> keras.Model:
    """``spec.model.depth`` encoder layers over tokens of ``spec.model.width``; the mean of those that are there goes to
    the head. Words that a text does not have are not attended to.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    tokens, present = _tokens(spec, layout, given["features"])
    mask = ops.expand_dims(present, 1) if layout.of("tokens") else None
    for layer in range(1, spec.model.depth + 1):
        tokens = attention(spec, tokens, f"layer{layer}", mask)
    pooled = mean(normalized(spec, tokens, "layer", "norm"), present)
    return keras.Model(list(given.values()), classifier(spec, pooled), name="transformer")


def _tokens(spec: Project, layout: Layout, features: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """All tokens, (N, T, width), and which of them there are, bool (N, T)."""
    found = [_placed(spec, piece, features) for piece in layout.of("tokens")]
    others = columns(spec, layout, features)
    if others is not None:
        found.append((others, ops.ones_like(others[:, :, 0], dtype="bool")))
    tokens, present = zip(*found, strict=True)
    return beside(list(tokens)), beside(list(present))


def _placed(spec: Project, piece: Slice, features: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """A text's words, each as its embedding plus that of its place in the text."""
    vectors, present = words(piece, features, spec.model.width, f"{label(piece)}_words")
    places = ops.cumsum(ops.ones_like(present, dtype="int32"), axis=1) - 1
    return vectors + layers.Embedding(piece.width, spec.model.width, name=f"{label(piece)}_places")(places), present
