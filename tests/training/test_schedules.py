"""The learning rate over time."""

import math

import pytest

from tasks.core.spec import Training
from tasks.training.schedules import make_schedule, peak_rate, plateau_rate


def _rates(epochs: int = 4, **schedule: object) -> list[float]:
    """Of each update, five in an epoch."""
    rate = make_schedule(Training(learning_rate=0.8, schedule=schedule), 5, epochs)
    assert callable(rate)
    return [float(rate(update)) for update in range(5 * epochs)]


def test_constant_and_plateau_are_numbers_that_may_be_changed() -> None:
    for kind in ("constant", "plateau"):
        assert make_schedule(Training(learning_rate=0.8, schedule={"kind": kind}), 5, 4) == 0.8


def test_steps_come_every_so_many_epochs() -> None:
    found = _rates(kind="step", every=2, factor=0.5)
    assert found == pytest.approx([0.8] * 10 + [0.4] * 10)


def test_exponential_falls_as_far_as_steps_a_little_each_time() -> None:
    found = _rates(kind="exponential", every=2, factor=0.5)
    assert found == pytest.approx([0.8 * 0.5 ** (update / 10) for update in range(20)])


def test_cosine_falls_to_zero() -> None:
    found = _rates(kind="cosine")
    assert found == pytest.approx([0.4 * (1 + math.cos(math.pi * update / 20)) for update in range(20)], rel=1e-5)


def test_a_warm_up_rises_from_its_first_share_to_the_peak_and_then_falls() -> None:
    found = _rates(kind="cosine_warmup", warmup=0.8)
    assert found[:5] == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8])
    assert found[4:] == pytest.approx([0.4 * (1 + math.cos(math.pi * update / 16)) for update in range(16)], rel=1e-4)


def test_a_warm_up_as_long_as_the_training_only_rises() -> None:
    found = _rates(epochs=1, kind="cosine_warmup", warmup=3)
    assert found == sorted(found) and found[0] < found[-1] <= 0.8


def test_a_plateau_lowers_the_rate_after_so_many_epochs_without_a_lower_loss() -> None:
    training = Training(learning_rate=0.8, schedule={"kind": "plateau", "every": 2, "factor": 0.5})
    losses = [1.0, 0.9, 0.95, 0.9, 0.8, math.nan, 0.8, 0.8, 0.8]
    rates = [plateau_rate(training, [{"val_loss": loss} for loss in losses[:epochs]]) for epochs in range(10)]
    assert rates == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2, 0.1])


@pytest.mark.parametrize(("scale", "factor"), [("none", 1), ("linear", 4), ("square_root", 2)])
def test_the_rate_grows_with_the_ranks(scale: str, factor: float) -> None:
    assert peak_rate(Training(learning_rate=0.1, ranks=4, scale_rate=scale)) == pytest.approx(0.1 * factor)
