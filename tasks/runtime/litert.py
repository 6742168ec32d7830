"""A package's LiteRT graph: a small library for small machines, which runs no strings."""

import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from tasks.runtime import packed


class LiteRt:
    """The graph in the file ``path``, packed or not; safe to use from several threads.

    An interpreter serves one call at a time, so there are as many as were ever called at once.
    """

    def __init__(self, path: Path) -> None:
        self._graph = packed.read(path)
        self._idle: queue.LifoQueue[SignatureRunner] = queue.LifoQueue()
        with self._runner():
            pass

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `tasks.runtime.predictor.Graph`."""
        with self._runner() as run:
            (found,) = run(**inputs).values()
        # A copy: the interpreter writes the next call's answer into the same memory.
        return np.array(found)

    @contextmanager
    def _runner(self) -> Iterator[SignatureRunner]:
        try:
            runner = self._idle.get_nowait()
        except queue.Empty:
            runner = Interpreter(model_content=self._graph, num_threads=1).get_signature_runner()
        try:
            yield runner
        finally:
            self._idle.put(runner)
