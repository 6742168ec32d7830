"""A small vision Transformer: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021).

The mean over the tokens goes to the head, not a class token: Beyer et al., "Better plain ViT baselines" (2022).
"""

import math

import keras
from keras import layers

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.blocks import attention, classifier, inputs, joined, normalized, pixels, regularizer


def build(spec: Project, layout: Layout) -> keras.Model:
    """``spec.model.depth`` encoder layers over the image's patches of ``spec.model.patch`` pixels, as tokens of
    ``spec.model.width``; the tokens' mean joins the features before the head.

    Args:
        layout: of the transformed feature vector.
    """
    given = inputs(spec, layout)
    tokens = _tokens(spec, _patches(pixels(given["image"]), spec.model.patch))
    for layer in range(1, spec.model.depth + 1):
        tokens = attention(spec, tokens, f"layer{layer}")
    tokens = normalized(spec, tokens, "layer", "norm")
    vector = joined(layers.GlobalAveragePooling1D(name="mean")(tokens), given["features"])
    return keras.Model(list(given.values()), classifier(spec, vector), name="vit")


def _patches(maps: keras.KerasTensor, side: int) -> keras.KerasTensor:
    """(H, W, C) to (T, ``side`` * ``side`` * C); black is added on the right and below to fill the last patches."""
    height, width, channels = maps.shape[1:]
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    margin = ((0, rows * side - height), (0, columns * side - width))
    maps = layers.ZeroPadding2D(margin, name="margin")(maps)
    maps = layers.Reshape((rows, side, columns, side, channels), name="grid")(maps)
    maps = layers.Permute((1, 3, 2, 4, 5), name="patches")(maps)
    return layers.Reshape((rows * columns, side * side * channels), name="sequence")(maps)


def _tokens(spec: Project, patches: keras.KerasTensor) -> keras.KerasTensor:
    """A linear map of each patch, plus a bias for each place: the learnt positions."""
    return layers.EinsumDense(
        "btp,pw->btw",
        (patches.shape[1], spec.model.width),
        bias_axes="tw",
        bias_initializer=keras.initializers.RandomNormal(stddev=0.02),
        kernel_regularizer=regularizer(spec),
        name="tokens",
    )(patches)
