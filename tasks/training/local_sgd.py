"""Local SGD: each rank trains alone, and every so many steps all go on from the average of what they have.

Stich, "Local SGD Converges Fast and Communicates Little" (2019); McMahan et al., "Communication-Efficient Learning"
(2017). The optimizer's moments are averaged with the weights (Yu et al., "On the Linear Speedup Analysis of
Communication Efficient Momentum SGD", 2019): with momentum and every step that equals averaging gradients, and a
checkpoint of one rank is one of all.
"""

from collections.abc import Sequence

import horovod.tensorflow as hvd
import keras
import tensorflow as tf

from tasks.training.optimizers import Apply, intercept


def average_every(optimizer: keras.optimizers.Optimizer, model: keras.Model, steps: int) -> keras.optimizers.Optimizer:
    """Has this instance, built, average the state of the ranks' models after every ``steps`` of them; returns it."""
    count = optimizer.add_variable((), dtype="int64", name="local_steps")

    def step(apply: Apply, grads: Sequence[tf.Tensor], trained: Sequence[keras.Variable]) -> None:
        apply(grads, trained)
        # Not the optimizer's own count: one that scales the loss does not count the steps that it skips.
        count.assign_add(1)
        keras.ops.cond(count.value % steps == 0, lambda: _average(model.weights, optimizer), lambda: None)

    return intercept(optimizer, step)


def average_state(model: keras.Model) -> None:
    """Gives all ranks the mean of their weights, statistics and moments: what an epoch ends with."""
    _average(model.weights, model.optimizer)


def _average(weights: Sequence[keras.Variable], optimizer: keras.optimizers.Optimizer) -> None:
    # A skipped step is one rank's own, and with it the counts and the scale of the loss: no rank has done more than
    # the least of them says, and all can go on at the lowest scale.
    moments = [variable for variable in optimizer.variables if variable.shape]
    _reduce([*weights, *moments], hvd.Average)
    _reduce([variable for variable in optimizer.variables if not variable.shape], hvd.Min)


def _reduce(variables: Sequence[keras.Variable], op: int) -> None:
    for dtype in sorted({variable.dtype for variable in variables}):
        group = [variable for variable in variables if variable.dtype == dtype]
        reduced = hvd.grouped_allreduce([variable.value for variable in group], op=op)
        for variable, value in zip(group, reduced, strict=True):
            variable.assign(value)
