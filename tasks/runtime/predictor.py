"""The packaged model as everyone runs it: the endpoint, the parity check, and the evaluation of a champion.

A package is a folder with ``model.onnx`` (transform, model and softmax in one graph) and ``signature.json``. One
thread per prediction: more of them were slower on models of this size, and requests run side by side anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict

from tasks.core.errors import UpdraftError
from tasks.core.spec import Feature, Image
from tasks.runtime.extractors import extract, widths
from tasks.runtime.images import decode

MODEL = "model.onnx"
SIGNATURE = "signature.json"

_BATCH = 256


class Signature(BaseModel):
    """What a package takes and gives, and the limits its endpoint holds to."""

    model_config = ConfigDict(frozen=True)

    project: str
    build: str
    """The package's own name, for where no registry has numbered it."""
    classes: tuple[str, ...]
    """Labels, in the order of the probabilities."""
    image: Image
    features: tuple[Feature, ...]
    """Extractors whose values are inputs of the graph, under their ``kind``."""
    top_k: int
    max_body_kib: int
    max_pixels: int
    libraries: Mapping[str, str] = {}
    """Library to the version that made the package."""


@dataclass(frozen=True)
class Example:
    """One image, ready for the graph.

    Attributes:
        pixels: uint8, (H, W, C).
        features: extractor's name to its raw float32 vector, before the transform.
    """

    pixels: np.ndarray
    features: Mapping[str, np.ndarray]


class Predictor:
    """A loaded package; safe to use from several threads."""

    def __init__(self, signature: Signature, session: Any) -> None:
        self.signature = signature
        self._session = session

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Loads the package in ``folder``.

        Raises:
            UpdraftError: a file is missing or damaged.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            signature = Signature.model_validate_json((folder / SIGNATURE).read_bytes())
            model = (folder / MODEL).read_bytes()
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # ONNX Runtime's exceptions have no public base class of their own.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            fix = "Run the package stage again, or roll back to another version."
            raise UpdraftError(f"The package {folder} cannot be loaded: {reason}", fix) from error
        return cls(signature, session)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels, in the order of the probabilities."""
        return self.signature.classes

    def prepare(self, data: bytes) -> Example:
        """Decodes an image and computes its features.

        Raises:
            BadImage: the bytes are no image that this package takes.
        """
        pixels = decode(data, self.signature.image, self.signature.max_pixels)
        return Example(pixels, extract(pixels, self.signature.features))

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        """Probabilities of each example's classes: float32, (N, classes)."""
        batches = [self._run(examples[start : start + _BATCH]) for start in range(0, len(examples), _BATCH)]
        return np.concatenate(batches) if batches else np.empty((0, len(self.classes)), np.float32)

    def predict_bytes(self, images: Sequence[bytes]) -> np.ndarray:
        """Probabilities of images as received: float32, (N, classes).

        Raises:
            BadImage: one of them is no image that this package takes.
        """
        return self.predict([self.prepare(data) for data in images])

    def warm_up(self) -> None:
        """Predicts a blank image, so that the first request does not pay for the graph's preparation."""
        blank = np.zeros(self.signature.image.shape, np.uint8)
        sizes = widths(self.signature.features, self.signature.image)
        self.predict([Example(blank, {name: np.zeros(size, np.float32) for name, size in sizes.items()})])

    def _run(self, examples: Sequence[Example]) -> np.ndarray:
        feed = {name: np.stack([e.features[name] for e in examples]) for name in examples[0].features}
        feed["image"] = np.stack([e.pixels for e in examples])
        (probabilities,) = self._session.run(None, feed)
        return probabilities
