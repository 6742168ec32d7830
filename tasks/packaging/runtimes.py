"""A form of the model, written for one of the runtimes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tasks.core.spec import Distilled, Form, Pruned
from tasks.packaging.inference import Inference
from tasks.packaging.to_onnx import write_onnx_graph
from tasks.packaging.to_saved_model import write_saved_model
from tasks.runtime.packed import pack
from tasks.runtime.predictor import LITERT, MODEL, SAVED_MODEL

PLAIN = "plain"
"""The form in which nothing was done to the model."""


class Calibration(Protocol):
    """Training rows to measure ranges on; a number of them to inputs by name."""

    def raw(self, rows: int) -> Mapping[str, np.ndarray]:
        """The inputs of the whole function."""
        ...

    def transformed(self, rows: int) -> Mapping[str, np.ndarray]:
        """The inputs of its second half."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A form before it is written.

    Attributes:
        form: None of the plain one.
        inference: the function that is served.
    """

    name: str
    form: Form | None
    inference: Inference

    @property
    def exact(self) -> bool:
        """Whether it has to answer as its Keras model does: it computes with the same numbers."""
        return self.form is None or isinstance(self.form, Pruned | Distilled)

    def runtimes(self, allowed: Sequence[str]) -> Sequence[str]:
        """Those of the allowed ones that may take it; TensorFlow takes what the others cannot."""
        return ("saved_model",) if self.inference.takes_text else allowed


def write_graph(candidate: Candidate, runtime: str, folder: Path, calibration: Calibration) -> Path:
    """Writes the candidate's graph into ``folder``; returns what was written.

    Raises:
        ValueError: this runtime has no such form.
    """
    if runtime == "saved_model":
        graph = folder / SAVED_MODEL
        write_saved_model(candidate.inference, candidate.form, graph)
    elif runtime == "litert":
        from tasks.packaging.to_litert import write_litert

        graph = folder / LITERT
        write_litert(candidate.inference, candidate.form, graph, calibration.raw)
    else:
        graph = folder / MODEL
        write_onnx_graph(candidate.inference, candidate.form, graph, calibration.transformed)
    return pack(graph) if isinstance(candidate.form, Pruned) else graph
