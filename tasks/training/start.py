"""Transfer learning: layers that begin with the weights of an earlier model, and stay as they are for some epochs.

Layers correspond by their names and the shapes of their weights. A layer within a layer is named after both; a model
within a model (a backbone, a member of an ensemble) adds nothing to the names, and of two layers of one name the first
counts: so an ensemble's start is its best member.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tasks.core.errors import BadInput

Arrays = dict[str, np.ndarray]
"""A layer's weights, as it numbers them itself."""

_SHOWN = 8


def apply(model: keras.Model, weights: Path, log: Callable[[str], None]) -> list[keras.layers.Layer]:
    """Gives each layer of ``model`` the weights of its counterpart in the file, and tells how many have one.

    Args:
        weights: what ``save`` or ``save_weights`` of Keras 3 wrote: ``.keras`` or ``.weights.h5``. Its code, if it
            holds any, is not run.

    Returns:
        The layers that took weights.

    Raises:
        BadInput: no layer has a counterpart, or the file cannot be read.
    """
    layers, found = _layers(model), _read(weights)
    begun = [name for name, layer in layers.items() if _shapes(_own(layer)) == _shapes(found.get(name, {}))]
    if not begun:
        message = f"model.start: none of the {len(layers)} layers has a counterpart in {weights.name}"
        raise BadInput(f"{message}, which holds {_listed(found)}.", "Start from a model of the same family and size.")
    for name in begun:
        layers[name].load_own_variables(found[name])
    anew = [name for name in layers if name not in begun]
    log(f"start: {len(begun)} of {len(layers)} layers begin with the weights of {weights.name}; anew: {_listed(anew)}")
    return [layers[name] for name in begun]


class Frozen(keras.callbacks.Callback):
    """Keeps layers as they are in the first epochs: batch statistics, too, since Keras then only applies them.

    Whether they are is a function of the epoch alone, so resumption needs no state. Between epochs nothing is frozen:
    whoever looks at the model then finds all its weights where they always are.

    Args:
        layers: to be frozen.
        epochs: how many.
    """

    def __init__(self, layers: Sequence[keras.layers.Layer], epochs: int) -> None:
        super().__init__()
        self._layers = [layer for layer in layers if layer.trainable]
        self._epochs = epochs
        self._traced: bool | None = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Freezes the layers if it is an epoch for that, and has the training step built anew at a change.

        Raises:
            BadInput: nothing is left to train.
        """
        frozen = epoch < self._epochs
        self._set(trainable=not frozen)
        if frozen and not self.model.trainable_variables:
            fix = "Set model.start.frozen_epochs to 0."
            raise BadInput("model.start: all layers started from there, so all are frozen.", fix)
        if self._traced is not frozen:
            self.model.make_train_function(force=True)
        self._traced = frozen

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """See above."""
        self._set(trainable=True)

    def _set(self, *, trainable: bool) -> None:
        for layer in self._layers:
            layer.trainable = trainable


def _layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers that have weights of their own, by name."""
    found: dict[str, keras.layers.Layer] = {}
    for name, layer in _walk_layers(model, ()):
        if _own(layer):
            found.setdefault(name, layer)
    return found


def _walk_layers(layer: keras.layers.Layer, above: tuple[str, ...]) -> Iterator[tuple[str, keras.layers.Layer]]:
    path = above if isinstance(layer, keras.Model) else (*above, layer.name)
    yield "/".join(path), layer
    for inner in layer._layers:
        yield from _walk_layers(inner, path)


def _own(layer: keras.layers.Layer) -> Arrays:
    """What Keras would save of this layer itself."""
    arrays: Arrays = {}
    layer.save_own_variables(arrays)
    return arrays


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {number: tuple(array.shape) for number, array in arrays.items()}


def _read(path: Path) -> dict[str, Arrays]:
    """The weights in the file, by the names that `_layers` gives to their layers."""
    found: dict[str, Arrays] = {}
    try:
        with _open(path) as file:
            for name, arrays in _walk_groups(file, ()):
                if arrays:
                    found.setdefault(name, arrays)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        message = f"model.start: {path.name} cannot be read: {error}"
        raise BadInput(message, "Give a .keras or .weights.h5 file that Keras 3 wrote.") from None
    return found


def _open(path: Path) -> h5py.File:
    if path.suffix != ".keras":
        return h5py.File(path)
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
        return h5py.File.in_memory(file.read())


def _walk_groups(group: h5py.Group, above: tuple[str, ...]) -> Iterator[tuple[str, Arrays]]:
    """Keras writes a layer's weights into a group ``vars``, which knows the layer's name."""
    variables = group.get("vars")
    is_model = group.name == "/" or "layers" in group
    path = above if variables is None or is_model else (*above, str(variables.attrs.get("name", "")))
    if variables is not None:
        yield "/".join(path), {number: array[()] for number, array in variables.items()}
    for name, inner in group.items():
        # The root's optimizer is none of the model.
        if isinstance(inner, h5py.Group) and name != "vars" and inner.name != "/optimizer":
            yield from _walk_groups(inner, path)


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    more = len(names) - _SHOWN
    return (", ".join([*names][:_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
