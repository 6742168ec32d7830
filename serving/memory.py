"""Models in memory, within a budget: loaded when somebody asks, and those not asked for longest make room."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil

from tasks.core.errors import UpdraftError
from tasks.runtime.predictor import SIGNATURE, Inputs, Predictor, Signature

log = logging.getLogger("updraft.serving")

_SIZES = (1, 4, 16, 64)
_ROUNDS = 5
_WORTH = 1.15
_LONG_SECONDS = 0.02
"""A call that takes longer has made up for what a call costs, and nobody shall wait for a larger one."""

_AT_ONCE_SECONDS = 0.004
"""That a request may keep the event loop from the others."""

_RUNTIMES = {"onnx": "onnx_model", "litert": "litert", "saved_model": "saved_model"}


@dataclass(frozen=True)
class Loaded:
    """A model in memory, warm.

    Attributes:
        batch: rows that are worth predicting in one call; 1 where a call of several takes as long as several calls.
        mib: what this process grew by when it was loaded, at least the size of its files.
        at_once: rows of a request that are so quickly done that crossing over to a thread would cost more than it
            spares the others; 0: not even one.
    """

    predictor: Predictor
    batch: int
    mib: float
    at_once: int = 0


class Memory:
    """The models that are loaded, together no larger than the budget.

    One is loaded at a time. The one that was asked for last stays, even if it alone is larger. Two that answer side by
    side never make room for each other: requests go to both, and each would load what the one before let go.

    Args:
        budget: MiB; None: no limit.
    """

    def __init__(self, budget: float | None) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._models: list[Model] = []
        self._measured: dict[Path, float] = {}

    def mib(self) -> float:
        """What the models take together."""
        return sum(model.loaded.mib for model in self._models if model.loaded)

    def fits(self, folder: Path) -> bool:
        """Whether there is room for the package without another's going, as far as one can tell."""
        return self._budget is None or self.mib() + self._size(folder) <= self._budget

    def pair(self, champion: "Model", challenger: "Model") -> None:
        """Loads both, and keeps them side by side until one of them is forgotten.

        Raises:
            UpdraftError: the budget does not hold both, or one cannot be loaded; the challenger is forgotten.
        """
        try:
            # What was measured once is not loaded again to find that it is too large.
            self._check(champion, challenger)
            champion.beside, challenger.beside = challenger, champion
            for model in (champion, challenger):
                model.get()
            self._check(champion, challenger)
        except BaseException:
            self.forget(challenger)
            raise

    def load(self, model: "Model") -> Loaded:
        """Loads it, unless another thread did, and lets go of others until the budget holds.

        Raises:
            UpdraftError: it cannot be loaded.
        """
        with self._lock:
            if model.loaded is None:
                model.loaded = _load(model.folder)
                self._measured[model.folder] = model.loaded.mib
                self._models.append(model)
                self._evict(model)
            return model.loaded

    def forget(self, model: "Model") -> None:
        """Counts a model no longer that answers no longer.

        It stays loaded for the requests that began with it, and goes with the last of them: one that found it gone
        would load it again, and nobody would let go of it then.
        """
        with self._lock:
            self._models = [each for each in self._models if each is not model]
            if model.beside:
                model.beside.beside = None
                model.beside = None

    def _check(self, champion: "Model", challenger: "Model") -> None:
        together = self._size(champion.folder) + self._size(challenger.folder)
        if self._budget is not None and together > self._budget:
            message = f"With the champion it takes {together:.0f} MiB, and a worker has {self._budget:.0f}."
            raise UpdraftError(message, "Raise UPDRAFT_SERVING_MEMORY_MIB, of which each worker has its share.")

    def _size(self, folder: Path) -> float:
        """MiB: what loading it took, or else its files."""
        return self._measured.get(folder) or size_mib(folder)

    def _evict(self, newest: "Model") -> None:
        others = [model for model in self._models if model not in (newest, newest.beside)]
        for model in sorted(others, key=Model.wanted):
            if self._budget is None or self.mib() <= self._budget:
                break
            log.info("%s makes room for %s.", model.folder, newest.folder)
            model.loaded = None
            self._models.remove(model)


class Model:
    """A package that is loaded when it is asked for.

    Attributes:
        loaded: what is in memory, if it is.
        used: when it was last asked for, by the monotonic clock.
        beside: the model that answers beside it, while one is tried.
    """

    def __init__(self, folder: Path, memory: Memory) -> None:
        self.folder, self._memory = folder, memory
        self.loaded: Loaded | None = None
        self.used = 0.0
        self.beside: Model | None = None

    def get(self) -> Loaded:
        """The model; safe to call from several threads, which wait while it is loaded.

        Raises:
            UpdraftError: it cannot be loaded.
        """
        self.used = time.monotonic()
        return self.loaded or self._memory.load(self)

    def at_hand(self) -> Loaded | None:
        """The model if it is in memory; waits for nobody."""
        self.used = time.monotonic()
        return self.loaded

    def forget(self) -> None:
        """See `Memory.forget`."""
        self._memory.forget(self)

    def wanted(self) -> tuple[float, float]:
        """When it or the one beside it was last asked for, and when itself: who is less so makes room first."""
        return max(self.used, self.beside.used if self.beside else 0.0), self.used


def size_mib(folder: Path) -> float:
    """Of all files below, but the Bento around them."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".bento")
    return sum(path.stat().st_size for path in files) / 2**20


def _load(folder: Path) -> Loaded:
    # A runtime stays when its models go: it counts for none of them.
    runtime = Signature.model_validate_json((folder / SIGNATURE).read_bytes()).runtime
    import_module(f"tasks.runtime.{_RUNTIMES[runtime]}")
    before = _resident()
    predictor = Predictor.load(folder)
    predictor.warm_up()
    batch = worthwhile(predictor.predict, predictor.blank)
    at_once = int(_AT_ONCE_SECONDS / row_seconds(predictor))
    return Loaded(predictor, batch, max(_resident() - before, size_mib(folder)), at_once)


def worthwhile(predict: Callable[[Inputs], object], blank: Callable[[int], Inputs]) -> int:
    """How many rows to predict in one call: as few as are about as fast per row as any number tried.

    On a processor most convolutions gain nothing from company, and everybody would wait for the last one's row.

    Args:
        blank: gives so many rows to try with.
    """
    paces: dict[int, float] = {}
    for size in _SIZES:
        rows = blank(size)
        seconds = min(_seconds(partial(predict, rows)) for _ in range(_ROUNDS))
        paces[size] = seconds / size
        if seconds > _LONG_SECONDS:
            break
    best = min(paces.values())
    return next(size for size in paces if paces[size] <= best * _WORTH)


def row_seconds(predictor: Predictor) -> float:
    """What the features and the prediction of one row take; of an image without decoding it."""
    image = predictor.signature.image
    # Noise: a blank image has no keypoints.
    noise = np.random.default_rng(0).integers(0, 256, (1, *image.shape), np.uint8) if image else None

    def row() -> None:
        predictor.predict(predictor.blank(1) if noise is None else predictor.prepare_pixels(noise))

    return min(_seconds(row) for _ in range(_ROUNDS))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _resident() -> float:
    return psutil.Process().memory_info().rss / 2**20
