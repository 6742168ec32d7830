"""Weights in fewer bits, for graphs that compute with floats all the same: they take less room."""

import numpy as np


def worth_it(values: np.ndarray) -> bool:
    """Whether it gets smaller at all: biases and the like are few, and what they are added to feels each of them."""
    return values.ndim > 1 and values.dtype == np.float32


def in_half(values: np.ndarray) -> np.ndarray:
    """As float16; what that cannot hold becomes the largest number that it can."""
    largest = np.finfo(np.float16).max
    return values.clip(-largest, largest).astype(np.float16)


def in_steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As whole multiples of a step for each entry of the last axis, which is where kernels have their outputs.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018).

    Returns:
        The multiples, int8, of the shape of ``values``; and the steps, float32, of a shape to multiply them by.
    """
    steps = np.abs(values).max(axis=tuple(range(values.ndim - 1)), keepdims=True) / np.float32(127)
    steps = np.where(steps > 0, steps, np.float32(1))
    return np.round(values / steps).astype(np.int8), steps
