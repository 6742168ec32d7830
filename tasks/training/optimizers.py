"""The update rule: any optimizer of the spec, what is decayed and clipped, and where gradients can be changed first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tasks.core.spec import Project
from tasks.training.schedules import make_schedule

Apply = Callable[[Sequence[Any], Sequence[keras.Variable]], None]
"""Gradients and the variables that they are of."""

RULES: Mapping[str, type[keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    # Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019): in Keras 3 that of Adam is decoupled, too.
    "adamw": keras.optimizers.Adam,
    "lion": keras.optimizers.Lion,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}
"""``training.optimizer`` to Keras' class."""

NOT_DECAYED = r"(^|/)(bias|gamma|beta)(:0)?$"
"""Variables by name: shifts, and the scales of normalization."""


def make_optimizer(spec: Project, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
    """The optimizer of the spec, not yet built; one that for float16 scales the loss (Micikevicius et al., 2018).

    Args:
        steps_per_epoch: batches; ``accumulate`` of them make one update.
        epochs: that the schedule spans.
    """
    training = spec.training
    optimizer = RULES[training.optimizer](
        learning_rate=make_schedule(training, steps_per_epoch // training.accumulate, epochs),
        weight_decay=training.weight_decay or None,
        global_clipnorm=training.clip_norm,
        use_ema=training.ema is not None,
        ema_momentum=training.ema or 0.0,
        **({"momentum": training.momentum} if training.optimizer == "momentum" else {}),
    )
    optimizer.exclude_from_weight_decay(var_names=[NOT_DECAYED])
    if training.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def intercept(
    optimizer: keras.optimizers.Optimizer, step: Callable[[Apply, Sequence[tf.Tensor], Sequence[keras.Variable]], None]
) -> keras.optimizers.Optimizer:
    """Has this instance call ``step`` in place of its own ``apply``, which is handed to it; returns the optimizer.

    Gradients reach ``step`` dense, those of embeddings too, and without the variables that have none. Intercept what
    ``compile`` gets, the outermost optimizer, and again after each ``load_model``, which makes a new instance.
    """
    apply = optimizer.apply

    def apply_changed(grads: Sequence[Any], trainable_variables: Sequence[keras.Variable]) -> None:
        pairs = zip(grads, trainable_variables, strict=True)
        found = [(tf.convert_to_tensor(grad), variable) for grad, variable in pairs if grad is not None]
        step(apply, [grad for grad, _ in found], [variable for _, variable in found])

    optimizer.apply = apply_changed
    return optimizer


def accumulate(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable], steps: int
) -> keras.optimizers.Optimizer:
    """Has this instance update once per ``steps``, with the mean of their gradients; returns it.

    Unlike Keras' own accumulation, all that counts updates counts these (schedule, averaged weights, growth of the loss
    scale), and ranks exchange gradients once per update, if their exchange was put into the optimizer before this.

    Args:
        optimizer: built.
        variables: that it was built with.
    """
    sums = {id(variable): optimizer.add_variable_from_reference(variable, "accumulated") for variable in variables}
    count = optimizer.add_variable((), dtype="int32", name="accumulated_steps")

    def step(apply: Apply, grads: Sequence[tf.Tensor], trained: Sequence[keras.Variable]) -> None:
        own = [sums[id(variable)] for variable in trained]
        for total, grad in zip(own, grads, strict=True):
            total.assign_add(grad)
        count.assign_add(1)

        def update() -> None:
            apply([total.value / steps for total in own], trained)
            for variable in (*own, count):
                variable.assign(tf.zeros_like(variable.value))

        keras.ops.cond(count.value >= steps, update, lambda: None)

    return intercept(optimizer, step)
