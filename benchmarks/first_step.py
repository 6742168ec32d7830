"""A rank that trains one step: what `benchmarks.launch` starts, by our launcher and by ``horovodrun``.

python -m benchmarks.first_step     launch it three times from this process, warm, and print the seconds
"""

import json
import sys
import time
from typing import Any

DONE = "first step at "


def first_step(payload: Any) -> float:
    """Joins the job, builds a small model, and trains one step of it; returns when that was done."""
    import horovod.tensorflow as hvd
    import keras
    import numpy as np

    from tasks.training import distributed

    hvd.init()
    layers = [keras.layers.Conv2D(16, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    model.compile(distributed.wrap_optimizer(keras.optimizers.Adam()), "mse", jit_compile=False)
    images, labels = np.zeros((32, 32, 32, 3), np.float32), np.zeros((32, 10), np.float32)
    model.fit(images, labels, batch_size=32, epochs=1, shuffle=False, verbose=0, callbacks=distributed.callbacks())
    return time.time()


def main() -> None:
    """Launches the job from this process, which is warm: it has imported TensorFlow."""
    import horovod.tensorflow  # noqa: F401
    import keras  # noqa: F401

    from tasks.training.jobs import launcher

    seconds = []
    for _ in range(3):
        started = time.time()
        done = launcher.launch("benchmarks.first_step:first_step", None, ranks=2, timeout=300, log=lambda line: None)
        seconds.append(max(done) - started)
    print(json.dumps(seconds))


if __name__ == "__main__":
    if "--rank" in sys.argv:
        print(f"{DONE}{first_step(None)}", flush=True)
    else:
        main()
