"""Going on from a checkpoint, on every rank alike."""

from collections.abc import Mapping
from typing import Any

import horovod.tensorflow as hvd
import keras
import numpy as np

from tasks.training.checkpoint import Checkpoints, History, seed_states
from tasks.training.distributed import Place


def resume(checkpoints: Checkpoints | None, model: keras.Model, place: Place) -> tuple[History, Mapping[str, Any]]:
    """Puts the newest checkpoint's state into ``model``, compiled, its optimizer built; without one, leaves it.

    Rank 0 reads it, the others have it from there; each rank then draws dropout masks of its own.

    Returns:
        The history so far, and what callbacks had kept.
    """
    found: tuple[History, Mapping[str, Any]] = ([], {})
    if checkpoints and place.rank == 0:
        found = checkpoints.restore(model)
    if checkpoints and place.horovod:
        found = hvd.broadcast_object(found, root_rank=0)
        state = [*model.weights, *model.optimizer.variables, *seed_states(model)]
        hvd.broadcast_variables([variable.value for variable in state], root_rank=0)
    for seed in seed_states(model):
        seed.assign(seed + np.array([place.rank, 0], np.uint32))
    return found
