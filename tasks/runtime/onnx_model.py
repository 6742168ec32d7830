"""A package's ONNX graph, run by ONNX Runtime.

One thread per prediction: more of them were slower on models of this size, and requests run side by side anyway.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from tasks.runtime import packed


class OnnxModel:
    """The graph in the file ``path``, packed or not; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(packed.read(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `tasks.runtime.predictor.Graph`."""
        found: np.ndarray
        (found,) = self._session.run(None, dict(inputs))
        return found
