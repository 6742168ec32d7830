"""Which rank the watchdog names, from what ranks and Horovod say, and in a job that stands still."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import Stalled
from tasks.training.jobs import launcher
from tasks.training.jobs.pulse import Beat, Pulse, adopt, beat
from tasks.training.jobs.watchdog import Watchdog

NAMES = ["rank 0 of 2", "rank 1 of 2"]


def test_nothing_is_said_while_every_rank_steps() -> None:
    watchdog = Watchdog(10, NAMES)
    watchdog.note({0: Beat(3, 4, 9.0), 1: Beat(0, 0, 0.0)})
    Watchdog(None, NAMES).note({0: Beat(0, 0, 1e6)})


def test_the_rank_that_is_behind_is_named_with_its_step_and_epoch() -> None:
    with pytest.raises(Stalled, match=r"rank 1 of 2 has made no step for 11 seconds: it stands at step 5 of epoch 3"):
        Watchdog(10, NAMES).note({0: Beat(2, 5, 12.0), 1: Beat(2, 4, 11.0)})


def test_among_ranks_at_one_step_it_is_the_one_silent_for_longest() -> None:
    with pytest.raises(Stalled, match=r"rank 1 of 2 has made no step for 14 seconds: it stands before its first step"):
        Watchdog(10, NAMES).note({0: Beat(-1, -1, 13.0), 1: Beat(-1, -1, 14.0)})


def test_a_rank_that_has_ended_is_not_waited_for() -> None:
    watchdog = Watchdog(10, NAMES)
    watchdog.note({0: Beat(0, 0, 9.0), 1: Beat(0, 0, 1.0)})
    watchdog.note({0: None, 1: Beat(0, 1, 0.0)})


def test_the_rank_that_horovod_misses_comes_first() -> None:
    watchdog = Watchdog(10, NAMES)
    for line in (
        "[rank 0] ... will cause deadlock. ",
        "[rank 0] Missing ranks:",
        "[rank 1] 0: [mine]",
        "[rank 0] 1: [g]",
    ):
        watchdog.hear(line)
    with pytest.raises(Stalled, match="rank 1 of 2"):
        watchdog.note({0: Beat(2, 4, 12.0), 1: Beat(2, 4, 11.0)})


def test_a_pulse_says_which_step_began_last() -> None:
    pulse = Pulse()
    assert (pulse.read().epoch, pulse.read().step) == (-1, -1)
    beat(1, 2)  # in a process that is no rank, it does nothing
    if os.fork() == 0:
        adopt(pulse)
        beat(3, 4)
        os._exit(0)
    os.wait()
    read = pulse.read()
    assert (read.epoch, read.step) == (3, 4)
    assert read.age >= 0


def sleep_in_the_data(sleeper: int) -> None:
    """Trains; the data of one rank stands still at step 3 of epoch 2, while the others wait in the reduction.

    That rank began the step last, so that neither steps nor time tell which one it is: Horovod must.
    """
    import horovod.tensorflow as hvd
    import keras
    import numpy as np
    import tensorflow as tf

    from tasks.training import distributed
    from tasks.training.jobs.heartbeat import Beat

    hvd.init()

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for step in range(8):
            if step == 6 and hvd.rank() == sleeper:
                time.sleep(600)
            yield np.ones((2, 3), np.float32), np.ones((2, 1), np.float32)

    class Late(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            time.sleep(0.5 * (hvd.rank() == sleeper))

    signature = (tf.TensorSpec((2, 3)), tf.TensorSpec((2, 1)))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(distributed.wrap_optimizer(keras.optimizers.SGD()), "mse", jit_compile=False)
    model.fit(data, epochs=2, steps_per_epoch=4, callbacks=distributed.callbacks([Late(), Beat()]), verbose=0)


@pytest.mark.slow
def test_a_rank_that_stops_stepping_ends_the_job_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    lines: list[str] = []
    with pytest.raises(Stalled, match=r"rank 1 of 2 has made no step for \d+ seconds: it stands at step 3 of epoch 2"):
        launcher.launch(f"{__name__}:sleep_in_the_data", 1, ranks=2, stall=20, timeout=300, log=lines.append)
    assert any("in batches" in line for line in lines), "where the ranks stood is not in the log"
