"""How long a model takes to answer: what a study of several objectives weighs against the score."""

import statistics
import time

import keras
import numpy as np
import tensorflow as tf

ROWS = 32
"""Of one call."""

_WARM_UP, _CALLS = 3, 30


def milliseconds_per_row(model: keras.Model) -> float:
    """The median over calls of `ROWS` rows of zeros as one graph, on this process's threads.

    The median, since a machine that does other things as well makes single calls long, and none short.
    """
    rows = {each.name: tf.constant(np.zeros((ROWS, *each.shape[1:]), each.dtype)) for each in model.inputs}
    answer = tf.function(lambda inputs: model(inputs, training=False))
    for _ in range(_WARM_UP):
        answer(rows)
    return statistics.median(_seconds(answer, rows) for _ in range(_CALLS)) / ROWS * 1e3


def _seconds(answer: tf.types.experimental.PolymorphicFunction, rows: dict[str, tf.Tensor]) -> float:
    started = time.perf_counter()
    answer(rows).numpy()
    return time.perf_counter() - started
