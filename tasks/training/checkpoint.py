"""Exact checkpoints: after a kill, training goes on as if it had never stopped, to the bit.

A checkpoint is one file per epoch, renamed into place once: weights, optimizer variables, the state of the random
generators (dropout), and the history. The order of rows needs no state: it is a pure function of seed and epoch.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

History = list[dict[str, float]]
"""One entry per epoch: loss, accuracy, val_loss, val_accuracy, learning_rate, seconds."""


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the model's random generators: uint32 (2,) each, a seed and a counter."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


def save(folder: Path, model: keras.Model, history: History) -> None:
    """Writes the state after ``len(history)`` epochs; older checkpoints of ``folder`` are removed once it stands.

    Args:
        model: compiled, its optimizer built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch-{len(history):05d}.npz"
    aside = path.with_suffix(".partial")
    with aside.open("wb") as file:
        np.savez(file, history=np.array(json.dumps(history)), **_arrays(model))
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    for older in _checkpoints(folder)[:-1]:
        older.unlink()


def restore(folder: Path, model: keras.Model) -> History:
    """Puts the newest checkpoint's state into ``model`` (compiled, its optimizer built).

    Returns:
        The history up to there; empty, and the model left as it is, when there is no checkpoint.
    """
    found = _checkpoints(folder)
    if not found:
        return []
    with np.load(found[-1], allow_pickle=False) as saved:
        for name, variable in _variables(model).items():
            variable.assign(saved[name])
        history: History = json.loads(str(saved["history"]))
    return history


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.npz"))


def _variables(model: keras.Model) -> Mapping[str, keras.Variable]:
    """By position, since names differ from one process to the next."""
    groups = {"weight": model.weights, "optimizer": model.optimizer.variables, "generator": seed_states(model)}
    return {f"{group}-{i}": variable for group, members in groups.items() for i, variable in enumerate(members)}


def _arrays(model: keras.Model) -> dict[str, Any]:
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(model).items()}
