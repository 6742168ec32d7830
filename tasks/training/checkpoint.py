"""Exact checkpoints: after a kill, training goes on as if it had never stopped, to the bit, on whichever host.

A checkpoint is one folder of the artifact store per epoch, published once: weights, the optimizer's variables (moments,
averaged weights, accumulated gradients, loss scale), the state of the random generators (dropout), the history, and
what callbacks have to remember. The order of rows needs no state: it is a pure function of seed and epoch.
"""

import io
import json
import logging
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from tasks.core.artifacts import MANIFEST, digest_json
from tasks.core.store import Store, open_store

log = logging.getLogger("updraft")

History = list[dict[str, float]]
"""One entry per epoch: loss, the score, both of validation (``val_``), learning_rate, seconds."""

STATE = "state.npz"

_EXTRA = "extra-"
_DAMAGED = (zipfile.BadZipFile, EOFError, ValueError, KeyError)
"""What reading an archive raises that a failing disk has cut or changed."""


@dataclass(frozen=True)
class Checkpoints:
    """Where one fit's checkpoints stand, and how many: a description that travels to whoever writes or reads them.

    Attributes:
        store_uri: the artifact store's address.
        folder: theirs, in the store.
        every: epochs from one to the next.
        keep: the newest so many stay.
    """

    store_uri: str
    folder: str
    every: int = 1
    keep: int = 1

    def save(self, model: keras.Model, history: History, extra: Mapping[str, np.ndarray] | None = None) -> None:
        """Publishes the state after ``len(history)`` epochs, if it is their turn, and removes those that are too old.

        Args:
            model: compiled, its optimizer built.
            extra: what callbacks need to go on.
        """
        if len(history) % self.every:
            return
        store = _open(self.store_uri)
        folder = store.scratch(f"{self._aside}/{os.getpid()}")
        arrays = _arrays(model) | {_EXTRA + name: value for name, value in (extra or {}).items()}
        with (folder / STATE).open("wb") as file:
            np.savez(file, history=np.array(json.dumps(history)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        (folder / MANIFEST).write_text(json.dumps({"epochs": len(history)}), encoding="utf-8")
        store.publish(folder, f"{self.folder}/epoch-{len(history):05d}")
        with suppress(OSError):  # there is another process's
            folder.parent.rmdir()
        for older in self._published(store)[: -self.keep]:
            store.delete(older)

    def restore(self, model: keras.Model) -> tuple[History, dict[str, np.ndarray]]:
        """Puts the newest checkpoint's state into ``model`` (compiled, its optimizer built).

        One that can no longer be read is removed, and the one before it counts.

        Returns:
            The history up to there, and what callbacks left. Empty, and the model as it is, without a checkpoint.
        """
        store = _open(self.store_uri)
        self._tidy(store)
        for folder in reversed(self._published(store)):
            data = store.read_bytes(f"{folder}/{STATE}")
            try:
                arrays = _read(data)
            except _DAMAGED as error:
                log.warning("%s cannot be read (%s): training goes on from an earlier epoch", folder, error)
                store.delete(folder)
                continue
            for name, variable in _variables(model).items():
                variable.assign(arrays.pop(name))
            history: History = json.loads(str(arrays.pop("history")))
            return history, {name.removeprefix(_EXTRA): value for name, value in arrays.items()}
        return [], {}

    def remove(self) -> None:
        """Removes all of them, if there are any."""
        store = _open(self.store_uri)
        self._tidy(store)
        for folder in self._published(store):
            store.delete(folder)

    def _tidy(self, store: Store) -> None:
        """Removes what killed attempts were writing."""
        store.scratch(self._aside).rmdir()

    @property
    def _aside(self) -> str:
        """Name of the scratch folder. In it each process has its own: of a host that was lost, a rank may go on for a
        while beside the retry."""
        return f"checkpoints-{digest_json(self.folder)[:32]}"

    def _published(self, store: Store) -> list[str]:
        """The folders, oldest first."""
        return [path.removesuffix(f"/{MANIFEST}") for path in store.list(self.folder) if path.endswith(f"/{MANIFEST}")]


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the model's random generators: uint32 (2,) each, a seed and a counter."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


@lru_cache(maxsize=4)
def _open(uri: str) -> Store:
    """Kept open: on S3 a connection costs more than a checkpoint."""
    return open_store(uri)


def _read(data: bytes) -> dict[str, Any]:
    """All of it before any of it is used; the archive's checksums tell whether it is whole."""
    with np.load(io.BytesIO(data), allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}


def _variables(model: keras.Model) -> Mapping[str, keras.Variable]:
    """By position, since names differ from one process to the next."""
    groups = {"weight": model.weights, "optimizer": model.optimizer.variables, "generator": seed_states(model)}
    return {f"{group}-{i}": variable for group, members in groups.items() for i, variable in enumerate(members)}


def _arrays(model: keras.Model) -> dict[str, Any]:
    # Straight from TensorFlow: Keras' own conversion takes three times as long, and the other ranks wait.
    return {name: variable.value.numpy() for name, variable in _variables(model).items()}
