"""The packaged model as everyone runs it: the endpoint, the parity check, and the evaluation of a champion.

A package is a folder with ``signature.json`` and one graph of transform, model and (of classes) softmax, for the
runtime that was quickest with it; ``saved_model/`` if strings go in. Only that runtime is imported.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from tasks.core.errors import UpdraftError
from tasks.core.spec import CnnEmbedding, Column, Feature, Image, Online
from tasks.runtime import packed
from tasks.runtime.embedding import Embedder
from tasks.runtime.extractors import Embedders, extract, widths
from tasks.runtime.images import decode
from tasks.runtime.instances import checked, typed
from tasks.runtime.libraries import others
from tasks.runtime.temperature import tempered

log = logging.getLogger("updraft")

MODEL = "model.onnx"
LITERT = "model.tflite"
SAVED_MODEL = "saved_model"
SIGNATURE = "signature.json"
EMBEDDING = "{group}.embedding.onnx"
"""The network of a ``cnn_embedding`` group, beside the model."""

_BATCH = 256

Graph = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Inputs by name, (N, ...) each, to probabilities, float32 (N, classes); of a regression to numbers, (N, 1)."""


class Signature(BaseModel):
    """What a package takes and gives, and the limits its endpoint holds to."""

    model_config = ConfigDict(frozen=True)

    project: str
    build: str
    """The package's own name, for where no registry has numbered it."""
    task: Literal["classification", "regression"] = "classification"
    """Whether it answers with the probabilities of classes or with a number."""
    classes: tuple[str, ...]
    """Labels, in the order of the probabilities; none of a regression."""
    image: Image | None = None
    """What images become; None: the package takes rows of a table."""
    columns: tuple[Column, ...] = ()
    """What a row of a table holds."""
    features: tuple[Feature, ...]
    """Extractors whose values are inputs of the graph, under their ``group``."""
    top_k: int
    max_body_kib: int
    max_pixels: int
    timeout_seconds: float = 10.0
    """After which a request is answered with 503."""
    log_share: float = 1.0
    """Share of the requests that the request log keeps."""
    log_days: int = 30
    """After which it drops them."""
    view: str = ""
    """Feast's view of these features, where entities are looked up; empty: the package does not say."""
    online: Online = Online()
    """How old what is looked up may be."""
    form: str = "plain"
    """What was done to the trained model to make it smaller; ``plain``: nothing."""
    runtime: Literal["onnx", "litert", "saved_model"] = "onnx"
    """What runs the graph."""
    lock: str = ""
    """Digest of the dependency lock that the package was made with."""
    temperature: float = 1.0
    """What the logits are divided by: fitted on validation rows, if the spec asks for it."""
    libraries: Mapping[str, str] = {}
    """Library to the version that made the package."""


@dataclass(frozen=True)
class Inputs:
    """Rows, ready for the graph.

    Attributes:
        pixels: uint8, (N, H, W, C); None of a table.
        features: feature group to its raw values before the transform, float32 or str, (N, F).
    """

    pixels: np.ndarray | None
    features: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))

    @classmethod
    def join(cls, parts: Sequence["Inputs"]) -> Self:
        """The rows of one or more parts, in order."""
        pixels = None if parts[0].pixels is None else np.concatenate([part.pixels for part in parts])
        return cls(pixels, {g: np.concatenate([part.features[g] for part in parts]) for g in parts[0].features})

    def feed(self, rows: slice) -> dict[str, np.ndarray]:
        """Some of the rows, as the graph's inputs."""
        named = dict(self.features) if self.pixels is None else {**self.features, "image": self.pixels}
        return {name: values[rows] for name, values in named.items()}


class Predictor:
    """A loaded package; safe to use from several threads."""

    def __init__(self, signature: Signature, graph: Graph, embedders: Embedders) -> None:
        self.signature = signature
        self._graph, self._embedders = graph, embedders

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Loads the package in ``folder``.

        Raises:
            UpdraftError: a file is missing or damaged.
        """
        try:
            signature = Signature.model_validate_json((folder / SIGNATURE).read_bytes())
            groups = [feature.group for feature in signature.features if isinstance(feature, CnnEmbedding)]
            embedders = {group: Embedder(folder / EMBEDDING.format(group=group)) for group in groups}
            graph = _load_graph(folder)
        # The runtimes' exceptions have no public base class in common.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            fix = "Run the package stage again, or roll back to another version."
            raise UpdraftError(f"The package {folder} cannot be loaded: {reason}", fix) from error
        _warn_of_others(signature)
        return cls(signature, graph, embedders)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels, in the order of the probabilities."""
        return self.signature.classes

    @property
    def is_regression(self) -> bool:
        """Whether it predicts a number, not a class."""
        return self.signature.task == "regression"

    def prepare(self, data: bytes, max_pixels: int | None = None) -> Inputs:
        """Decodes an image and computes its features: one row.

        Args:
            max_pixels: fewer than the package takes.

        Raises:
            BadImage: the bytes are no image that this package takes, or it has too many pixels.
        """
        assert self.signature.image is not None, "this package takes rows"
        most = max_pixels or self.signature.max_pixels
        return self.prepare_pixels(decode(data, self.signature.image, min(most, self.signature.max_pixels))[None])

    def prepare_pixels(self, pixels: np.ndarray) -> Inputs:
        """Computes the features of decoded images, uint8 (N, H, W, C), N at least 1."""
        rows = [extract(image, self.signature.features, self._embedders) for image in pixels]
        return Inputs(pixels, {group: np.stack([row[group] for row in rows]) for group in rows[0]})

    def prepare_rows(self, rows: Sequence[Mapping[str, Any]], *, strict: bool = True) -> Inputs:
        """Types a table's rows, at least one, and computes their features.

        Args:
            rows: column to value, as JSON has it.
            strict: refuse what the package was not trained on; else it counts as missing.

        Raises:
            BadRow: ``strict``, and a row is none that this package takes.
        """
        # Brings pyarrow, which the endpoint of images does without.
        from tasks.runtime.table_features import extract_table

        columns = (checked if strict else typed)(rows, self.signature.columns)
        return Inputs(None, extract_table(columns, self.signature.features))

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Probabilities of each row's classes, float32 (N, classes); of a regression its numbers, (N, 1)."""
        found, temperature = self.untempered(inputs), self.signature.temperature
        return found if temperature == 1 else tempered(found, temperature)

    def untempered(self, inputs: Inputs) -> np.ndarray:
        """What the graph gives: what `predict` would at the temperature 1."""
        starts = range(0, len(inputs), _BATCH)
        return np.concatenate([self._graph(inputs.feed(slice(start, start + _BATCH))) for start in starts])

    def predict_bytes(self, images: Iterable[bytes]) -> np.ndarray:
        """What `predict` gives, for images as received.

        Raises:
            BadImage: one of them is no image that this package takes.
        """
        return self._predict_all(Inputs.join([self.prepare(data) for data in part]) for part in _parts(images))

    def predict_rows(self, rows: Iterable[Mapping[str, Any]], *, strict: bool = True) -> np.ndarray:
        """What `predict` gives, for a table's rows. For arguments and errors see `prepare_rows`."""
        return self._predict_all(self.prepare_rows(part, strict=strict) for part in _parts(rows))

    def warm_up(self) -> None:
        """Predicts a blank row, so that the first request does not pay for the graph's preparation."""
        self.predict(self.blank(1))

    def blank(self, count: int) -> Inputs:
        """So many rows of nothing: black images, or values that are missing."""
        image = self.signature.image
        if image is None:
            return self.prepare_rows([{}] * count, strict=False)
        sizes = widths(self.signature.features, image, self._embedders)
        features = {group: np.zeros((count, size), np.float32) for group, size in sizes.items()}
        return Inputs(np.zeros((count, *image.shape), np.uint8), features)

    def _predict_all(self, parts: Iterable[Inputs]) -> np.ndarray:
        return np.concatenate([np.empty((0, len(self.classes) or 1), np.float32), *map(self.predict, parts)])


def _parts(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of as many rows as are predicted at a time: a whole split of images may not fit into memory."""
    remaining = iter(rows)
    while part := list(islice(remaining, _BATCH)):
        yield part


def _load_graph(folder: Path) -> Graph:
    """The graph that lies there. A runtime is imported where a package needs it; elsewhere it need not be installed."""
    if packed.stands(folder / SAVED_MODEL):
        from tasks.runtime.saved_model import SavedModel

        return SavedModel(folder / SAVED_MODEL)
    if packed.stands(folder / LITERT):
        from tasks.runtime.litert import LiteRt

        return LiteRt(folder / LITERT)
    from tasks.runtime.onnx_model import OnnxModel

    return OnnxModel(folder / MODEL)


def _warn_of_others(signature: Signature) -> None:
    """Says which libraries differ from those that the package was made and checked with."""
    for library, made, here in others(signature.runtime, signature.libraries):
        log.warning(
            "%s %s was packaged with %s %s; %s runs here, and answers may differ a little.",
            *(signature.project, signature.build, library, made, here),
        )
