"""A fit that is stopped after each epoch and taken up again ends like one that never was; and when a fit ends early."""

from pathlib import Path
from typing import Any

import keras
import pytest

from tasks.training.checkpoint import Checkpoints, History
from tasks.training.loop import Job, fit, weights_digest
from tasks.training.stopping import best_epoch, is_over, kept_entry
from tests.training.skewed import project, rows, write

EPOCHS = 4
CASES: dict[str, dict[str, Any]] = {
    "float16": {
        "training.precision": "mixed_float16",
        "training.ema": 0.8,
        "training.accumulate": 2,
        "training.learning_rate": 0.03,
        "training.augmentation.mixup": 0.4,
        "model.dropout": 0.3,
    },
    "early stopping": {
        "training.early_stopping": {"patience": 2},
        "training.ema": 0.2,
        "training.optimizer": "momentum",
        "training.learning_rate": 1.0,
        "training.schedule": {"kind": "plateau", "every": 1, "factor": 0.5},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes that overlap, so that a high rate makes the loss go up and down."""
    folder = tmp_path_factory.mktemp("data")
    write(folder, train=rows(50, 40, 30, seed=1), validation=rows(20, 20, 20, seed=2))
    return folder


def _job(folder: Path, case: str, checkpoints: Checkpoints | None = None, **others: Any) -> Job:
    return Job(project({**CASES[case], **others}), folder, folder, EPOCHS, checkpoints)


def _untimed(history: History) -> History:
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in history]


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, tuple[str, History]]:
    """Digest and history of each case; whatever it computed in, its model and the process are left with float32."""
    found = {}
    for case in CASES:
        model, history = fit(_job(folder, case), lambda line: None)
        found[case] = weights_digest(model), _untimed(history)
        assert {layer.compute_dtype for layer in model.layers if layer.weights} == {"float32"}
        assert keras.config.dtype_policy().name == "float32"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_fit_taken_up_after_each_epoch_ends_with_the_same_bits(
    folder: Path, tmp_path: Path, case: str, undisturbed: dict[str, tuple[str, History]]
) -> None:
    job = _job(folder, case, Checkpoints(str(tmp_path), "checkpoints"))
    digest, history = undisturbed[case]
    for epochs in range(1, len(history) + 1):
        model, found = fit(job, lambda line: None, judged=lambda done, entry, end=epochs: done == end)
        assert _untimed(found) == history[:epochs]
    assert weights_digest(model) == digest
    assert weights_digest(fit(job, lambda line: None)[0]) == digest, "there was nothing left to train"


def test_the_case_meets_a_plateau_and_ends_early(undisturbed: dict[str, tuple[str, History]]) -> None:
    _, history = undisturbed["early stopping"]
    assert [entry["learning_rate"] for entry in history] == [1, 1, 0.5]


@pytest.mark.slow
def test_early_stopping_gives_the_weights_of_the_best_epoch(
    folder: Path, undisturbed: dict[str, tuple[str, History]]
) -> None:
    digest, history = undisturbed["early stopping"]
    best = len(history) - 2
    job = _job(folder, "early stopping", **{"training.early_stopping": None})
    model, found = fit(job, lambda line: None, judged=lambda done, entry: done == best)
    assert weights_digest(model) == digest
    assert _untimed(found)[-1] == kept_entry(history, project(CASES["early stopping"]).training.early_stopping)


def _history(*losses: float) -> History:
    return [{"val_loss": loss} for loss in losses]


def _rule(**values: Any) -> Any:
    return project({"training.early_stopping": values}).training.early_stopping


def test_it_is_over_after_so_many_epochs_without_a_lower_loss() -> None:
    rule = _rule(patience=2)
    assert not is_over(_history(3, 2, 2.5), rule)
    assert is_over(_history(3, 2, 2.5, 2), rule)
    assert is_over(_history(float("nan"), float("nan")), rule)
    assert not is_over(_history(1, 2, 3), None)
    assert best_epoch(_history(3, 2, 2.5, 2), rule) == 1


def test_a_loss_counts_as_lower_from_min_delta_on() -> None:
    rule = _rule(patience=2, min_delta=0.5)
    assert best_epoch(_history(3, 2.6, 2.4), rule) == 2
    assert is_over(_history(3, 2.6, 2.55), rule)


def test_the_kept_entry_is_the_last_unless_the_best_is_restored() -> None:
    history = _history(3, 2, 2.5)
    assert kept_entry(history, _rule())["val_loss"] == 2
    assert kept_entry(history, _rule(restore_best=False))["val_loss"] == 2.5
    assert kept_entry(history, None)["val_loss"] == 2.5
    assert kept_entry(_history(float("nan"), 2), _rule())["val_loss"] == 2
