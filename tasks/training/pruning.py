"""Magnitude pruning: the smallest weights become zero while the others are trained on.

Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression" (2017).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

_LEAST = 0.01
"""Share of a kernel that is worth looking for the smallest weights again."""


class Pruning(keras.callbacks.Callback):
    """Sets more and more of each kernel to zero over the first half of the training, and lets the rest recover.

    Args:
        sparsity: share of each kernel's weights that are zero in the end.
    """

    def __init__(self, sparsity: float) -> None:
        super().__init__()
        self._sparsity, self._reached, self._step = sparsity, 0.0, 0
        self._masks: list[_Mask] = []

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Puts masks where the optimizer looks for constraints, which it applies after each update."""
        self._masks = [_Mask(kernel) for kernel in kernels(self.model)]

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Cuts what is due: much in the beginning, where much is superfluous, less and less later."""
        self._step += 1
        half = self.params["epochs"] * self.params["steps"] / 2
        left = 1 - min(1.0, self._step / half)
        due = self._sparsity * (1 - left**3)
        if due - self._reached >= _LEAST or (left == 0 and self._reached < due):
            self._reached = due
            for mask in self._masks:
                mask.cut(due)


class _Mask:
    """Keeps weights of a kernel at zero; it is the kernel's constraint."""

    def __init__(self, kernel: keras.Variable) -> None:
        self._kernel = kernel
        self._kept = keras.Variable(np.ones(kernel.shape, np.float32), trainable=False, dtype=kernel.dtype)
        kernel.constraint = self

    def __call__(self, values: Any) -> Any:
        """The weights with those that were cut at zero."""
        return values * self._kept

    def cut(self, share: float) -> None:
        """Cuts the smallest weights; those that are zero are the smallest, so what is cut stays cut."""
        values = keras.ops.convert_to_numpy(self._kernel)
        kept = np.ones(values.size, np.float32)
        kept[np.argsort(np.abs(values), axis=None, kind="stable")[: round(share * values.size)]] = 0
        self._kept.assign(kept.reshape(values.shape))
        self._kernel.assign(values * kept.reshape(values.shape))


def kernels(model: keras.Model) -> list[keras.Variable]:
    """What inputs are multiplied by: no biases, and no scales of normalization."""
    return [each for each in model.trainable_variables if each.name.endswith("kernel") and len(each.shape) > 1]


def zeros(models: Sequence[keras.Model]) -> float:
    """Share of all weights together that are zero."""
    weights = [weight for model in models for weight in model.get_weights()]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.size for weight in weights)
