"""Adaptive sampling: what is drawn, that a crash changes nothing, that ranks agree; and what balancing is for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.training.adaptive import draw_rows, mixture
from tasks.training.jobs.launcher import launch
from tasks.training.loop import fit, weights_digest
from tasks.training.train import train_rank
from tests.training.skewed import job, rows, write

LOSSES = arrays(
    np.float32, st.integers(1, 50), elements=st.floats(0, 1e6, width=32) | st.sampled_from([np.nan, np.inf])
)


@given(LOSSES, st.integers(1, 200), st.integers(0, 99))
def test_every_row_is_drawn_as_often_as_its_share_says(losses: np.ndarray, count: int, seed: int) -> None:
    shares = mixture(losses, np.arange(len(losses)) % 3)
    assert (shares > 0).all() and shares.sum() == pytest.approx(1)
    drawn = draw_rows(shares, count, np.random.default_rng(seed))
    assert drawn.shape == (count,)
    assert (np.abs(np.bincount(drawn, minlength=len(losses)) - count * shares) < 1 + 1e-6).all()
    assert np.array_equal(drawn, draw_rows(shares, count, np.random.default_rng(seed)))


def test_rows_that_are_rare_or_badly_predicted_have_larger_shares() -> None:
    labels = np.array([0] * 9 + [1])
    even = mixture(np.ones(10, np.float32), labels)
    assert even[9] > 3 * even[0] and np.allclose(even[:9], even[0])
    bad = mixture(np.array([5] + [1] * 9, np.float32), labels)
    assert bad[0] > 2 * bad[1]


def test_of_a_regression_every_row_counts_the_same_however_often_its_number_stands() -> None:
    labels = np.array([0] * 9 + [1], np.float32)
    assert np.allclose(mixture(np.ones(10, np.float32), labels), 0.1)


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty rows of one class to one of the other in training; as many of each in validation."""
    folder = tmp_path_factory.mktemp("skewed")
    write(folder, train=rows(400, 20, seed=1), validation=rows(200, 200, seed=2))
    return folder


def _train(folder: Path, checkpoints: Path | None = None, **overrides: Any) -> str:
    return weights_digest(fit(job(folder, checkpoints, **overrides), lambda line: None)[0])


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["none", "smote"])
def test_a_run_that_crashed_resumes_to_the_very_same_weights(skewed: Path, tmp_path: Path, balance: str) -> None:
    sampling = {"sampling.adaptive": True, "sampling.balance": balance}

    def crash(line: str) -> None:
        if line.startswith("epoch 3/"):
            raise KeyboardInterrupt

    undisturbed = _train(skewed, **sampling)
    with pytest.raises(KeyboardInterrupt):
        fit(job(skewed, tmp_path, **sampling), crash)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch-00002"]
    assert _train(skewed, tmp_path, **sampling) == undisturbed
    assert undisturbed != _train(skewed, **{"sampling.balance": balance}), "nothing was adapted"


@pytest.mark.slow
def test_two_ranks_draw_alike_and_end_with_the_same_weights(home: Path, skewed: Path, tmp_path: Path) -> None:
    spec = job(skewed, **{"sampling.adaptive": True, "sampling.balance": "smote", "training.ranks": 2}).spec
    payload = {"spec": spec.model_dump(mode="json"), "store": str(skewed.parent), "start": None, "events": "skewed"}
    payload |= dict.fromkeys(("dataset", "transform"), skewed.name)
    payload["checkpoints"] = {"store_uri": str(tmp_path), "folder": "checkpoints"}
    target = f"{train_rank.__module__}:{train_rank.__name__}"
    environment = {"TF_NUM_INTRAOP_THREADS": "1"}
    results = launch(target, payload, ranks=2, timeout=120, log=lambda line: None, env=environment)
    assert len({result["digest"] for result in results}) == 1
    assert len(results[0]["history"]) == 3


def _recall(folder: Path, **overrides: Any) -> float:
    """Of the rare class on the validation split, which is not skewed."""
    model, history = fit(job(folder, **{"training.epochs": 6, **overrides}), lambda line: None)
    assert len(history) == 6
    split = rows(200, 200, seed=2)
    guessed = model.predict(split.take(np.arange(400)), verbose=0).argmax(axis=1)
    return float((guessed[200:] == 1).mean())


@pytest.mark.slow
def test_a_rare_class_is_found_more_often(skewed: Path) -> None:
    plain = _recall(skewed)
    for balance in ("class_weights", "oversample", "undersample", "smote"):
        assert _recall(skewed, **{"sampling.balance": balance}) > plain + 0.2, balance
    assert _recall(skewed, **{"sampling.adaptive": True}) > plain + 0.2
