"""Two ranks with half the batch each train as one rank does, and stay the same; without our wrapper they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.errors import RankFailed
from tasks.training.jobs import launcher

ROWS, FEATURES, CLASSES, EPOCHS, GLOBAL_BATCH, SEED = 203, 12, 5, 2, 32, 7
EQUAL = ("momentum", "adam", "accumulation", "embedding", "averaged weights")
GRADIENTS = ((1.0, 3.0), (2.0, -1.0), (0.5, 4.0), (1.0, 1.0))
"""Of one weight, step by step, in each of two ranks."""
SYNCHRONOUS = (*EQUAL, "float16", "batchnorm")


def train_every_case(cases: tuple[str, ...]) -> dict[str, Any]:
    """In each rank: what every case ends with, and when a patient rank and an impatient one stop together."""
    import horovod.tensorflow as hvd

    hvd.init()
    others = {"stopping": _stop_early(), "local": _train_alone_and_average(), "overflow": _overflow_on_one_rank()}
    return {case: _train(case) for case in cases} | others


def fail_in_the_middle_of_a_reduction(payload: None) -> None:
    """Rank 1 raises while rank 0 waits for it."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    hvd.init()
    if hvd.rank() == 1:
        raise ValueError("this batch has no labels")
    hvd.allreduce(tf.constant(1.0))


def _train(case: str) -> dict[str, Any]:
    import horovod.tensorflow as hvd
    import keras

    from tasks.training.distributed import callbacks, wrap_optimizer
    from tasks.training.local_sgd import average_every

    keras.utils.set_random_seed(hvd.rank())  # other first weights in each rank: only rank 0's may count
    model, optimizer = _model(case), _optimizer(case)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    if case == "averaged weights":
        optimizer.build(model.trainable_variables)
        average_every(optimizer, model, 1)
    elif case != "unwrapped":
        wrap_optimizer(optimizer)
    steps = ROWS // GLOBAL_BATCH
    history = model.fit(_batches(case), epochs=EPOCHS, steps_per_epoch=steps, verbose=0, callbacks=callbacks())
    state = [*model.weights, *optimizer.variables]
    return {"state": [np.array(variable.value) for variable in state], "loss": history.history["loss"]}


def _stop_early() -> tuple[int, list[float]]:
    """Rank 0's own validation loss falls, rank 1's rises; each has the average, so both stop after the same epoch."""
    import horovod.tensorflow as hvd
    import keras

    from tasks.training.distributed import callbacks, wrap_optimizer

    model = keras.Sequential([keras.layers.Dense(1, use_bias=False)])
    model.compile(wrap_optimizer(keras.optimizers.SGD(0.01)), "mse")
    model.build((None, 1))
    ones = np.ones((4, 1))
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0)
    target = (100.0, -300.0)[hvd.rank()]
    history = model.fit(
        ones, 100 * ones, epochs=4, verbose=0, validation_data=(ones, target * ones), callbacks=callbacks([stop])
    )
    return len(history.epoch), history.history["val_loss"]


def _train_alone_and_average() -> list[np.ndarray]:
    """The weights after each of four steps by ``GRADIENTS``, averaged after every second one."""
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    from tasks.training.local_sgd import average_every

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    optimizer = keras.optimizers.SGD(1.0, momentum=0.5)
    optimizer.build(model.trainable_variables)
    average_every(optimizer, model, 2)
    seen = []
    for gradients in GRADIENTS:
        optimizer.apply([tf.constant([[gradients[hvd.rank() % 2]]])], model.trainable_variables)
        seen.append(model.get_weights()[0].item())
    return seen


def _overflow_on_one_rank() -> tuple[float, float, int]:
    """Weight, loss scale and updates after one step in which a single rank's gradient is infinite, and one good one."""
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    from tasks.training.distributed import wrap_optimizer

    weight = keras.Variable(0.0)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=8.0)
    optimizer.build([weight])
    wrap_optimizer(optimizer)
    for gradient in (np.inf if hvd.rank() == 1 else 1.0, 2.0):
        optimizer.apply([tf.constant(gradient, tf.float32)], [weight])
    return float(weight.value), float(optimizer.dynamic_scale.value), int(optimizer.iterations)


def _model(case: str) -> Any:
    import keras

    layers = keras.layers
    if case == "embedding":
        body = [layers.Embedding(20, 4), layers.Flatten()]
    elif case == "batchnorm":
        body = [layers.Dense(16), layers.BatchNormalization(momentum=0.5), layers.ReLU(), layers.Dropout(0.3)]
    else:
        body = [layers.Dense(16, activation="tanh")]
    policy = keras.DTypePolicy("mixed_float16" if case == "float16" else "float32")
    head = layers.Dense(CLASSES, activation="softmax", dtype=policy)
    return keras.Sequential([keras.Input((FEATURES,)), *body, head])


def _optimizer(case: str) -> Any:
    import keras

    if case == "averaged weights":
        return keras.optimizers.SGD(0.1, momentum=0.9)
    if case == "momentum":
        return keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=1.0)
    if case == "accumulation":
        return keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)
    if case == "float16":
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    if case == "unwrapped":
        return keras.optimizers.SGD(0.1)
    return keras.optimizers.Adam(0.01)


def _batches(case: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    import horovod.tensorflow as hvd

    from tasks.training.distributed import shard

    rng = np.random.default_rng(SEED)
    x = rng.integers(0, 20, (ROWS, FEATURES)) if case == "embedding" else rng.normal(size=(ROWS, FEATURES))
    y = rng.integers(0, CLASSES, ROWS)
    place = {"rank": hvd.rank(), "size": hvd.size()}
    for epoch in range(EPOCHS):
        for rows in shard(ROWS, GLOBAL_BATCH // hvd.size(), **place, seed=SEED, epoch=epoch):
            yield x[rows], y[rows]


@pytest.fixture(scope="module")
def launch() -> Callable[..., list[Any]]:
    """A job of the functions above, which ranks import by this module's name."""

    def start(function: Callable[..., Any], payload: Any, ranks: int) -> list[Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(Path(__file__).parents[2]))
            # One thread each: how many take part decides the order of additions, and with it the last bit.
            env = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
            return launcher.launch(f"{__name__}:{function.__name__}", payload, ranks=ranks, timeout=300, env=env)

    return start


@pytest.fixture(scope="module")
def one(launch: Callable[..., list[Any]]) -> dict[str, Any]:
    """What a single rank ends with, case by case."""
    return launch(train_every_case, EQUAL, 1)[0]


@pytest.fixture(scope="module")
def two(launch: Callable[..., list[Any]]) -> list[dict[str, Any]]:
    """What each of two ranks ends with, case by case."""
    return launch(train_every_case, (*SYNCHRONOUS, "unwrapped"), 2)


@pytest.mark.slow
@pytest.mark.parametrize("case", EQUAL)
def test_two_ranks_equal_one_rank_with_twice_the_batch(
    one: dict[str, Any], two: list[dict[str, Any]], case: str
) -> None:
    for alone, together in zip(one[case]["state"], two[0][case]["state"], strict=True):
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(two[0][case]["loss"], one[case]["loss"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", SYNCHRONOUS)
def test_ranks_end_with_the_same_bits_and_the_same_history(two: list[dict[str, Any]], case: str) -> None:
    first, second = (rank[case] for rank in two)
    for left, right in zip(first["state"], second["state"], strict=True):
        np.testing.assert_array_equal(left, right)
    assert first["loss"] == second["loss"]


@pytest.mark.slow
def test_without_the_wrapper_ranks_drift_apart(two: list[dict[str, Any]]) -> None:
    first, second = (rank["unwrapped"]["state"] for rank in two)
    assert max(np.abs(left - right).max() for left, right in zip(first, second, strict=True)) > 1e-3


@pytest.mark.slow
def test_ranks_decide_together_though_their_own_losses_disagree(two: list[dict[str, Any]]) -> None:
    (epochs, losses), other = (rank["stopping"] for rank in two)
    assert (epochs, losses) == other
    assert epochs == 2, "the average rises at once, though rank 0's own loss falls"


@pytest.mark.slow
def test_ranks_train_alone_and_go_on_from_the_average_of_weights_and_moments(two: list[dict[str, Any]]) -> None:
    weights, moments, expected = np.zeros(2), np.zeros(2), []
    for step, gradients in enumerate(GRADIENTS, 1):
        moments = 0.5 * moments - np.array(gradients)
        weights = weights + moments
        if step % 2 == 0:
            weights[:], moments[:] = weights.mean(), moments.mean()
        expected.append(weights.copy())
    found = np.array([rank["local"] for rank in two]).T
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.slow
def test_what_float16_cannot_hold_on_one_rank_is_a_skipped_step_on_all(two: list[dict[str, Any]]) -> None:
    assert [rank["overflow"] for rank in two] == [(-0.5, 4.0, 1)] * 2


@pytest.mark.slow
def test_the_rank_that_raised_is_named_not_the_one_it_left_waiting(launch: Callable[..., list[Any]]) -> None:
    with pytest.raises(RankFailed, match="rank 1 of 2 ended with exit code 1") as caught:
        launch(fail_in_the_middle_of_a_reduction, None, 2)
    assert "this batch has no labels" in caught.value.message
