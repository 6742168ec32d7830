"""CNN embeddings: a trained network without its head, as one ONNX graph from decoded pixels to a vector.

The graph holds the architecture's own preprocessing, and runs in ONNX Runtime wherever features are computed. It is
made once, from the weights file that the spec names or from the project's champion, and kept under HOME/embeddings/.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.core.artifacts import digest_file, digest_json
from tasks.core.code import code_version
from tasks.core.errors import BadInput, UpdraftError
from tasks.core.settings import ROOT, settings
from tasks.core.spec import CnnEmbedding, Image

if TYPE_CHECKING:
    from tasks.core.registry import Version
    from tasks.core.stages import Context

CHAMPION = "champion"
INPUT, OUTPUT = "image", "embedding"

_EXPORT = "tasks.models.embedding_export"


class Embedder:
    """A loaded graph; safe to use from several threads.

    Attributes:
        shape: (H, W, C) of the pixels it takes.
        width: dimensions of the vector it gives.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.shape: tuple[int, int, int] = tuple(self._session.get_inputs()[0].shape[1:])
        self.width = len(self(np.zeros(self.shape, np.uint8)))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels, uint8 (H, W, C), to float32 (width,). One at a time: no row's vector depends on its neighbours."""
        (vectors,) = self._session.run([OUTPUT], {INPUT: pixels[None]})
        return vectors[0]


def state(ctx: "Context") -> Mapping[str, str]:
    """What the features depend on beside the spec: the networks, by digest. Nothing without a ``cnn_embedding``.

    Raises:
        BadInput: a weights file is missing.
    """
    return {f"embedding {feature.group}": _identity(ctx, feature) for feature in _embeddings(ctx)}


def graphs(ctx: "Context") -> dict[str, Path]:
    """The group of each ``cnn_embedding`` feature to its ONNX graph, made now if it is not there yet.

    Raises:
        BadInput: there is no such architecture, its weights do not fit, or the project has no champion yet.
    """
    return {feature.group: _graph(ctx, feature) for feature in _embeddings(ctx)}


def load_embedders(ctx: "Context") -> dict[str, Embedder]:
    """The group of each ``cnn_embedding`` feature to its network.

    Raises:
        BadInput: as `graphs`, or a network takes images of another shape than the spec's.
    """
    loaded = {group: Embedder(path) for group, path in graphs(ctx).items()}
    for group, embedder in loaded.items():
        if embedder.shape != _image(ctx).shape:
            taken, given = ("x".join(map(str, shape)) for shape in (embedder.shape, _image(ctx).shape))
            message = f"features.{group}: the champion takes images of {taken}, the spec's are {given}."
            raise BadInput(message, "Train a champion on the new size without this feature first, or go back.")
    return loaded


def _embeddings(ctx: "Context") -> list[CnnEmbedding]:
    return [feature for feature in ctx.spec.features if isinstance(feature, CnnEmbedding)]


def _image(ctx: "Context") -> Image:
    assert ctx.spec.image is not None
    return ctx.spec.image


def _identity(ctx: "Context", feature: CnnEmbedding) -> str:
    """Changes when the vectors may."""
    if feature.architecture == CHAMPION:
        champion = _champion(ctx)
        return f"version {champion.version} ({champion.key[:12]})" if champion else "no champion"
    return digest_json([_digest_of(_weights(feature)), code_version(_EXPORT)])[:32]


def _champion(ctx: "Context") -> "Version | None":
    return ctx.registry.alias(ctx.spec.name)


def _weights(feature: CnnEmbedding) -> Path:
    path = settings().home / Path(str(feature.weights)).expanduser()
    if not path.is_file():
        fix = "Put the file there, or name another one; a relative path stands under UPDRAFT_HOME."
        raise BadInput(f"features.{feature.group}.weights: there is no file {path}.", fix)
    return path


def _digest_of(path: Path) -> str:
    found = path.stat()
    return _digest(path, found.st_size, found.st_mtime_ns)


@lru_cache
def _digest(path: Path, size: int, modified: int) -> str:
    return digest_file(path)


def _graph(ctx: "Context", feature: CnnEmbedding) -> Path:
    parts = [feature.architecture, _image(ctx).shape, _identity(ctx, feature)]
    target = settings().home / "embeddings" / f"{digest_json(parts)[:32]}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    # Many partitions may ask at the same time; one of them works.
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            aside = target.with_suffix(".partial")
            if feature.architecture == CHAMPION:
                _cut_champion(ctx, feature, aside)
            else:
                _convert(feature, _image(ctx), aside)
            os.replace(aside, target)
    return target


def _cut_champion(ctx: "Context", feature: CnnEmbedding, target: Path) -> None:
    from tasks.runtime import packed
    from tasks.runtime.image_branch import write_image_branch
    from tasks.runtime.predictor import MODEL

    champion = _champion(ctx)
    if champion is None:
        message = f"features.{feature.group}: {ctx.spec.name} has no champion yet whose network could be used."
        raise BadInput(message, "Leave this feature out until a first version is promoted, then add it.")
    model = ctx.store.fetch(champion.package.rpartition("/")[0]) / MODEL
    if not packed.stands(model):
        message = f"features.{feature.group}: {ctx.spec.name}'s champion is no ONNX graph that could be cut."
        raise BadInput(message, "Allow packaging.runtimes [onnx] alone, and promote a champion of that first.")
    write_image_branch(model, target)


def _convert(feature: CnnEmbedding, image: Image, target: Path) -> None:
    """In a process of its own: Keras and TensorFlow are no business of those who only compute features."""
    options = {"architecture": feature.architecture, "weights": str(_weights(feature)), "shape": image.shape}
    command = [sys.executable, "-m", _EXPORT, json.dumps(options), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == BadInput.exit_code:
        refusal = json.loads(done.stdout.splitlines()[-1])
        raise BadInput(f"features.{feature.group}: {refusal['message']}", refusal["fix"])
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        message = f"features.{feature.group}: {feature.architecture} could not be converted to ONNX: {last}"
        raise UpdraftError(message, f"Run it by hand to see all: {' '.join(command[1:3])} ...")
