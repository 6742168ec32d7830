"""What one update does: the rule, what is decayed, how far it is clipped, and when it comes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.training.optimizers import accumulate, intercept, make_optimizer
from tests.training.skewed import project


def _optimizer(steps_per_epoch: int = 4, **training: Any) -> keras.optimizers.Optimizer:
    options = {"schedule.kind": "constant", "learning_rate": 0.5, "optimizer": "sgd", **training}
    return make_optimizer(project({f"training.{name}": value for name, value in options.items()}), steps_per_epoch, 1)


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam", "adamw", "lion", "rmsprop", "adagrad"])
def test_kernels_are_decayed_whatever_the_rule_and_shifts_and_scales_are_not(rule: str) -> None:
    layers = [keras.layers.Dense(2), keras.layers.LayerNormalization(), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *layers])
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(tf.ones(variable.shape))
    optimizer = _optimizer(optimizer=rule, weight_decay=0.1)
    optimizer.build(variables)
    optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables)
    for variable in variables:
        expected = 1 - 0.5 * 0.1 if variable.name == "kernel" else 1
        np.testing.assert_allclose(variable, np.full(variable.shape, expected), rtol=1e-6)


def test_gradients_are_scaled_down_to_the_norm_of_all_of_them_together() -> None:
    variables = [keras.Variable([0.0]), keras.Variable([0.0])]
    optimizer = _optimizer(clip_norm=1.0)
    optimizer.apply([tf.constant([3.0]), tf.constant([4.0])], variables)
    np.testing.assert_allclose(np.concatenate([variable.numpy() for variable in variables]), [-0.3, -0.4], rtol=1e-6)


def test_momentum_is_that_of_the_spec() -> None:
    assert _optimizer(optimizer="momentum", momentum=0.7).momentum == 0.7
    assert _optimizer(optimizer="sgd", momentum=0.7).momentum == 0


def _stepped(optimizer: keras.optimizers.Optimizer, gradients: Sequence[float], steps: int) -> list[float]:
    """The weight after each gradient, ``steps`` of which make an update; in a graph, as in ``fit``."""
    weight = keras.Variable([1.0])
    optimizer.build([weight])
    if steps > 1:
        accumulate(optimizer, [weight], steps)

    @tf.function
    def apply(gradient: tf.Tensor) -> None:
        optimizer.apply([gradient], [weight])

    seen = []
    for gradient in gradients:
        apply(tf.constant([gradient]))
        seen.append(weight.numpy().item())
    optimizer.finalize_variable_values([weight])
    return [*seen, weight.numpy().item()]


@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_accumulated_gradients_are_one_update_for_all_that_counts_updates(rule: str) -> None:
    options = {"optimizer": rule, "ema": 0.5, "weight_decay": 0.1, "schedule": {"kind": "step", "every": 1}}
    large = _stepped(_optimizer(steps_per_epoch=2, **options), [0.5, -2.0, 4.0], 1)
    small = _stepped(_optimizer(**options, accumulate=2), [0.0, 1.0, -1.0, -3.0, 4.0, 4.0], 2)
    assert small[:6] == pytest.approx([1.0, large[0], large[0], large[1], large[1], large[2]])
    assert small[-1] == pytest.approx(large[-1])


def test_an_overflow_in_one_of_the_accumulated_gradients_skips_the_update() -> None:
    optimizer = _optimizer(precision="mixed_float16", accumulate=2, ema=0.5)
    found = _stepped(optimizer, [2.0**15, np.inf, 2.0**14, 2.0**14], 2)
    assert found == [1.0, 1.0, 1.0, 0.5, 0.5]
    assert float(optimizer.dynamic_scale.value) == 2.0**14


def test_gradients_of_embeddings_arrive_dense_and_missing_ones_not_at_all() -> None:
    table, unused = keras.Variable(np.zeros((3, 1), np.float32)), keras.Variable([1.0])
    seen: list[Any] = []
    optimizer = intercept(_optimizer(), lambda apply, grads, variables: seen.extend([grads, variables]))
    rows = tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([2, 2]), tf.constant([3, 1]))
    optimizer.apply([rows, None], [table, unused])
    (grad,), (variable,) = seen
    np.testing.assert_array_equal(grad, [[0], [0], [3]])
    assert variable is table
