"""An architecture of keras.applications, with the weights that the user gave, as an ONNX graph of embeddings.

Run as a process: ``python -m tasks.models.embedding_export OPTIONS TARGET``; it ends with exit code 2, and the refusal
as one line of JSON, when what it was given cannot be used.
"""

import json
import sys
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import tensorflow as tf

from tasks.core.errors import BadInput
from tasks.models.onnx_export import write_onnx


def export(architecture: str, weights: Path, shape: tuple[int, int, int], target: Path) -> None:
    """Writes the graph: ``image`` uint8 (N, H, W, C) to ``embedding`` float32 (N, F), the mean of the last maps.

    Preprocessing is the architecture's own; grey is repeated to three channels.

    Args:
        architecture: a name of keras.applications.
        weights: of that architecture without its top.
        shape: (H, W, C).

    Raises:
        BadInput: there is no such architecture, it takes no images of this shape, or the weights are of another one.
    """
    network, preprocess = _load(architecture, weights, shape)

    def embed(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        colours = tf.tile(tf.cast(pixels, tf.float32), [1, 1, 1, 3 // shape[2]])
        return {"embedding": tf.reduce_mean(network(preprocess(colours), training=False), axis=[1, 2])}

    write_onnx(embed, [tf.TensorSpec((None, *shape), tf.uint8, name="image")], target)


def _load(architecture: str, weights: Path, shape: tuple[int, int, int]) -> tuple[keras.Model, Callable]:
    build = _find(architecture)
    height, width, _ = shape
    try:
        network = build(weights=None, include_top=False, input_shape=(height, width, 3))
    except ValueError as error:
        message = f"{architecture} takes no images of {height}x{width}: {_first_line(error)}"
        raise BadInput(message, "Make the spec's image larger, or choose another architecture.") from None
    try:
        _fill(network, weights)
    # A file of another shape, of another format, or damaged: Keras and h5py fail in many ways.
    except Exception as error:
        message = f"{weights} does not hold the weights of {architecture} without its top: {_first_line(error)}"
        raise BadInput(message, "Save them with include_top=False, or name the architecture they are of.") from None
    module: ModuleType = sys.modules[build.__module__]
    return network, module.preprocess_input


def _fill(network: keras.Model, weights: Path) -> None:
    """Loads all weights; Keras may leave those that it does not find as they were, with no more than a warning."""
    for weight in network.weights:
        weight.assign(np.full(weight.shape, np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.load_weights(weights)
    left = [weight.path for weight in network.weights if np.isnan(weight).any()]
    if left:
        raise ValueError(f"{len(left)} of {len(network.weights)} are not in it, {left[0]} for one")


def _find(architecture: str) -> Callable[..., keras.Model]:
    known = {name.lower(): name for name in dir(keras.applications) if name[0].isupper()}
    if architecture in known.values():
        return getattr(keras.applications, architecture)
    near = [known[name] for name in get_close_matches(architecture.lower(), known, cutoff=0.4)]
    message = f"keras.applications has no architecture {architecture!r}."
    fix = f"Did you mean {' or '.join(near)}?" if near else f"Use one of {', '.join(known.values())}."
    raise BadInput(message, fix)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def main() -> None:
    """The process."""
    options, target = json.loads(sys.argv[1]), Path(sys.argv[2])
    try:
        export(options["architecture"], Path(options["weights"]), tuple(options["shape"]), target)
    except BadInput as error:
        print(json.dumps({"message": error.message, "fix": error.fix}))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
