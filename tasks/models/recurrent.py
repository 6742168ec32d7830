"""Recurrent networks over the words of a text, the lines of an image, or the columns of a table.

LSTM: Hochreiter and Schmidhuber, "Long short-term memory" (1997). GRU: Cho et al., "Learning phrase representations
using RNN encoder-decoder" (2014). Dropout stands between layers, not between steps: Zaremba et al., "Recurrent neural
network regularization" (2014).
"""

from collections.abc import Iterator

import keras
from keras import layers

from tasks.core.layout import Layout
from tasks.core.spec import Project
from tasks.models.blocks import classifier, dropped, inputs, normalized, pixels, regularizer
from tasks.models.tokens import beside, columns, label, part, words

Cell = type[layers.LSTM] | type[layers.GRU]
Sequence = tuple[str, keras.KerasTensor, keras.KerasTensor | None]
"""What the names of its layers begin with; steps (N, T, width); and which of them there are, bool (N, T), or all."""


def lstm(spec: Project, layout: Layout) -> keras.Model:
    """See `_build`."""
    return _build(spec, layout, layers.LSTM, "lstm")


def gru(spec: Project, layout: Layout) -> keras.Model:
    """See `_build`."""
    return _build(spec, layout, layers.GRU, "gru")


def _build(spec: Project, layout: Layout, cell: Cell, name: str) -> keras.Model:
    """``spec.model.depth`` layers of states of ``spec.model.width``; the last state joins the other features.

    Each text has layers of its own. Where there is neither a text nor an image, the columns are read one after the
    other, as tokens.
    """
    given = inputs(spec, layout)
    features = given["features"]
    read = list(_sequences(spec, layout, given))
    others = [part(features, piece) for piece in layout.of("number", "category")] if read else []
    if not read:
        read = [("columns", columns(spec, layout, features), None)]
    vector = beside([*(_state(spec, each, cell) for each in read), *others])
    return keras.Model(list(given.values()), classifier(spec, vector), name=name)


def _sequences(spec: Project, layout: Layout, given: dict[str, keras.KerasTensor]) -> Iterator[Sequence]:
    if spec.image:
        height, width, channels = spec.image.shape
        yield "image", layers.Reshape((height, width * channels), name="lines")(pixels(given["image"])), None
    for piece in layout.of("tokens"):
        yield label(piece), *words(piece, given["features"], spec.model.width, f"{label(piece)}_words")


def _state(spec: Project, sequence: Sequence, cell: Cell) -> keras.KerasTensor:
    """The last state of the last layer, (N, width); zeros where no step is there."""
    name, steps, present = sequence
    for layer in range(1, spec.model.depth + 1):
        if layer > 1:
            steps = dropped(spec, steps, f"{name}_dropout{layer}")
        steps = cell(
            spec.model.width,
            return_sequences=layer < spec.model.depth,
            kernel_regularizer=regularizer(spec),
            recurrent_regularizer=regularizer(spec),
            name=f"{name}_layer{layer}",
        )(steps, mask=present)
        steps = normalized(spec, steps, "none", f"{name}_norm{layer}")
    return steps
