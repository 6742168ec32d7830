"""Options of the spec, alone and together: two ranks train as one rank with their batches joined, and stay the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.config import replace
from tasks.training.jobs import launcher
from tests.training.skewed import project, rows, write

EPOCHS = 2
PLAIN = {"model.dropout": 0.0, "model.activation": "tanh", "training.epochs": EPOCHS}
EQUAL: dict[str, dict[str, Any]] = {
    "sgd, constant, clipped": {
        "training.optimizer": "sgd",
        "training.schedule.kind": "constant",
        "training.clip_norm": 0.1,
    },
    "momentum, step, decay": {
        "training.optimizer": "momentum",
        "training.schedule": {"kind": "step", "every": 1, "factor": 0.5},
        "training.weight_decay": 0.1,
    },
    "adamw, warm-up, accumulated, averaged": {
        "training.optimizer": "adamw",
        "training.schedule": {"kind": "cosine_warmup", "warmup": 0.5},
        "training.weight_decay": 0.1,
        "training.clip_norm": 0.5,
        "training.ema": 0.8,
        "training.accumulate": 2,
        "training.label_smoothing": 0.1,
        "sampling.balance": "class_weights",
    },
    "lion, exponential": {"training.optimizer": "lion", "training.schedule": {"kind": "exponential", "every": 1}},
    "rmsprop, plateau": {
        "training.optimizer": "rmsprop",
        "training.schedule": {"kind": "plateau", "every": 1},
        "training.learning_rate": 0.05,
    },
    "adagrad, focal": {"training.optimizer": "adagrad", "training.loss": "focal"},
    "adam, cosine, xla": {"training.optimizer": "adam", "training.xla": True, "training.loss": "huber"},
}
"""Name to what sets it apart from `PLAIN`."""

ACCUMULATED, COMPILED, EXACT = "adamw, warm-up, accumulated, averaged", "adam, cosine, xla", "momentum, step, decay"
ALONE = {
    "joined batches": {**EQUAL[ACCUMULATED], "training.accumulate": 1, "training.batch_size": 32},
    "no xla": {**EQUAL[COMPILED], "training.xla": False},
}

MIXED = {
    "training.precision": "mixed_float16",
    "training.ema": 0.9,
    "training.accumulate": 2,
    "training.augmentation.mixup": 0.2,
    "model.dropout": 0.3,
}
LOCAL = {"training.sync_every": 5, "training.xla": True, "training.ema": 0.9, "model.dropout": 0.3}
SAME: dict[str, dict[str, Any]] = {
    "float16, mixed": MIXED,
    "float16, mixed, again": MIXED,
    "bfloat16, adaptive": {"training.precision": "mixed_bfloat16", "sampling.adaptive": True},
    "local, float16": {"training.precision": "mixed_float16", **LOCAL},
    "compressed": {**EQUAL[EXACT], "training.compress": True},
}
"""What only has to leave all ranks with the same model."""


def fit_each(payload: tuple[Path, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """In each rank: weights, digest and history of every case."""
    import horovod.tensorflow as hvd

    from tasks.training.loop import Job, fit, weights_digest

    hvd.init()
    folder, cases = payload
    found = {}
    for name, options in cases.items():
        spec = replace(project(PLAIN), {**options, "training.ranks": hvd.size()})
        model, history = fit(Job(spec, folder, folder, EPOCHS), lambda line: None, horovod=hvd.size() > 1)
        found[name] = {"weights": model.get_weights(), "digest": weights_digest(model), "history": history}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes that overlap; an uneven number of rows to validate."""
    folder = tmp_path_factory.mktemp("data")
    write(folder, train=rows(90, 70, 40, seed=1), validation=rows(15, 11, 9, seed=2))
    return folder


def _launch(folder: Path, cases: dict[str, dict[str, Any]], ranks: int) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))
        env = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        target = f"{__name__}:{fit_each.__name__}"
        return launcher.launch(target, (folder, cases), ranks=ranks, timeout=400, log=lambda line: None, env=env)


@pytest.fixture(scope="module")
def one(folder: Path) -> dict[str, Any]:
    """What a process without Horovod ends with, case by case."""
    return _launch(folder, EQUAL | ALONE, 1)[0]


@pytest.fixture(scope="module")
def two(folder: Path) -> list[dict[str, Any]]:
    """What each of two ranks ends with, case by case."""
    return _launch(folder, EQUAL | SAME, 2)


@pytest.mark.slow
@pytest.mark.parametrize("case", EQUAL)
def test_two_ranks_equal_one_with_their_batches_joined(
    one: dict[str, Any], two: list[dict[str, Any]], case: str
) -> None:
    alone, together = one[case], two[0][case]
    for left, right in zip(alone["weights"], together["weights"], strict=True):
        np.testing.assert_allclose(right, left, rtol=0, atol=1e-6)
    for left, right in zip(alone["history"], together["history"], strict=True):
        measured = [name for name in left if name != "seconds"]
        np.testing.assert_allclose([right[name] for name in measured], [left[name] for name in measured], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", EQUAL | SAME)
def test_ranks_end_with_the_same_bits_and_the_same_history(two: list[dict[str, Any]], case: str) -> None:
    first, second = ({**rank[case], "weights": None} for rank in two)
    for entry in (*first["history"], *second["history"]):
        del entry["seconds"]
    assert first == second
    assert all(np.isfinite(list(entry.values())).all() for entry in first["history"])


@pytest.mark.slow
def test_the_same_job_ends_with_the_same_bits(two: list[dict[str, Any]]) -> None:
    assert two[0]["float16, mixed"]["digest"] == two[0]["float16, mixed, again"]["digest"]


@pytest.mark.slow
def test_options_are_not_without_effect(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    for rank in (one, two[0]):
        digests = [found["digest"] for case, found in rank.items() if not case.endswith("again")]
        assert len(set(digests)) == len(digests)


@pytest.mark.slow
def test_accumulated_batches_equal_one_large_batch(one: dict[str, Any]) -> None:
    for small, large in _pairs(one, ACCUMULATED, "joined batches"):
        np.testing.assert_allclose(small, large, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_xla_computes_what_the_interpreter_does(one: dict[str, Any]) -> None:
    for compiled, plain in _pairs(one, COMPILED, "no xla"):
        np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_compressed_gradients_lead_to_nearly_the_same_weights(two: list[dict[str, Any]]) -> None:
    for exact, rounded in _pairs(two[0], EXACT, "compressed"):
        np.testing.assert_allclose(rounded, exact, rtol=0, atol=5e-3)


def _pairs(found: dict[str, Any], left: str, right: str) -> Any:
    return zip(found[left]["weights"], found[right]["weights"], strict=True)
