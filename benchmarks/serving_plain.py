"""A BentoML service as its guide shows it: one API method that takes an image, everything else left as it is."""

import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import onnxruntime as ort
from PIL.Image import Image

from tasks.runtime.extractors import extract
from tasks.runtime.predictor import MODEL, SIGNATURE, Signature


@bentoml.service(workers=2)
class Plain:
    """The package in BENCHMARK_PACKAGE."""

    def __init__(self) -> None:
        folder = Path(os.environ["BENCHMARK_PACKAGE"])
        self._signature = Signature.model_validate_json((folder / SIGNATURE).read_bytes())
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])

    @bentoml.api
    def predict(self, image: Image, /) -> list[dict[str, Any]]:
        """The likeliest classes of the image."""
        assert self._signature.image is not None
        mode = "L" if self._signature.image.channels == 1 else "RGB"
        pixels = np.asarray(image.convert(mode)).reshape(self._signature.image.shape)
        features = {group: values[None] for group, values in extract(pixels, self._signature.features, {}).items()}
        (found,) = self._session.run(None, {"image": pixels[None], **features})
        order = np.argsort(-found[0])[: self._signature.top_k]
        return [{"label": self._signature.classes[n], "probability": float(found[0][n])} for n in order]
