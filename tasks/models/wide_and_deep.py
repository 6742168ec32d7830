"""A linear model and a deep one, trained together: Cheng et al., "Wide & Deep Learning for Recommender Systems" (2016).

The linear one learns exceptions by heart, best from crossed columns; the deep one generalizes.
"""

from collections.abc import Iterator

import keras
from keras import layers

from tasks.core.layout import Layout, Slice
from tasks.core.spec import Project
from tasks.models.blocks import classifier, inputs, regularizer
from tasks.models.tokens import beside, label, mean, part, words


def build(spec: Project, layout: Layout) -> keras.Model:
    """The sum of a linear map of all features and of dense layers over numbers and embeddings.

    An embedding is of ``spec.model.width``, or of as many dimensions as the category has values, if those are fewer;
    that of a text is the mean of its words'.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    deep = beside([_embedded(spec, piece, given["features"]) for piece in layout.slices])
    both = layers.Add(dtype="float32", name="both")
    logits = both([classifier(spec, deep), *_wide(spec, layout, given["features"])])
    return keras.Model(list(given.values()), logits, name="wide_and_deep")


def _embedded(spec: Project, piece: Slice, features: keras.KerasTensor) -> keras.KerasTensor:
    name, values = f"{label(piece)}_embedding", part(features, piece)
    if piece.kind == "tokens":
        return mean(*words(piece, features, spec.model.width, name))
    if piece.kind == "number":
        return values
    width = min(spec.model.width, piece.width)
    return layers.Dense(width, use_bias=False, kernel_regularizer=regularizer(spec), name=name)(values)


def _wide(spec: Project, layout: Layout, features: keras.KerasTensor) -> Iterator[keras.KerasTensor]:
    """Linear in all features, and in how often which word stands in a text."""
    plain = [part(features, piece) for piece in layout.of("number", "category")]
    if plain:
        options = {"use_bias": False, "kernel_regularizer": regularizer(spec), "dtype": "float32"}
        yield layers.Dense(spec.outputs, name="wide", **options)(beside(plain))
    for piece in layout.of("tokens"):
        yield mean(*words(piece, features, spec.outputs, f"{label(piece)}_wide"))
