"""Averaged weights (Polyak and Juditsky, 1992), which Keras' optimizers keep beside those that are trained."""

from collections.abc import Sequence

import keras
import numpy as np


class Averaged(keras.callbacks.Callback):
    """Validates the averaged weights, for they are what the model will have; Keras puts them there when training ends.

    From the beginning of validation until this callback's turn at the epoch's end, they stand in the model.

    Args:
        variables: that the optimizer was built with.
    """

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        super().__init__()
        self._variables = variables
        self._trained: list[np.ndarray] = []

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Puts the averages into the model."""
        self._trained = [variable.numpy() for variable in self._variables]
        self.model.optimizer.finalize_variable_values(self._variables)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Puts back what training goes on with."""
        for variable, value in zip(self._variables, self._trained, strict=True):
            variable.assign(value)
