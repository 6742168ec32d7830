"""Judging a trial: what is refused, what is chance, and what cannot be judged."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.spec import Deployment
from tasks.deployment.judging import Seen, judge, judge_errors

LIMITS = Deployment(min_requests=100, max_error_rate=0.01, max_latency_ratio=1.5, max_score_psi=0.2)


def seen(
    requests: int = 1000, failed: int = 0, seconds: float = 0.01, bright: float = 0.5, seed: int = 0, **values: Any
) -> Seen:
    """So many requests of a version, the first ``failed`` of them in vain."""
    random, found = np.random.default_rng(seed), Seen()
    for number in range(requests):
        label = "bright" if random.random() < bright else "dark"
        answers = [{name: float(random.normal(mean)) for name, mean in values.items()}] if values else None
        answers = answers or [{"label": label, "probability": float(random.uniform(0.5, 1))}]
        took = seconds * float(random.uniform(0.8, 1.2))
        is_failed = number < failed
        record: dict[str, Any] = {
            "failed": "timeout" if is_failed else "",
            "seconds": took,
            "answers": [] if is_failed else answers,
        }
        found.add(record)
    return found


def test_one_that_does_as_the_champion_goes_on() -> None:
    numbers, faults = judge(seen(seed=1), seen(seed=2), LIMITS)
    assert faults == []
    assert numbers["requests"] == {"champion": 1000, "challenger": 1000}
    assert 0.9 < numbers["latency_ratio"] < 1.1
    assert set(numbers["score_psi"]) == {"label", "probability"}


@pytest.mark.parametrize(
    ("challenger", "said"),
    [
        (seen(failed=50), r"failed 50 of 1000 requests \(50 timeout\); the champion 0.00%, at most 1.00% more"),
        (seen(seconds=0.02), r"ms at the 95th percentile, the champion .* ms, at most 1\.5 times that is allowed"),
        (seen(bright=0.9), r"stability index of label \d\.\d\d, at most 0\.20 is allowed"),
        (seen(requests=99), r"99 requests to it and 1000 to the champion prove nothing: 100 of each are needed"),
        (seen(requests=0), "0 requests to it"),
        (seen(requests=1000, failed=1000), "failed 1000 of 1000"),
    ],
)
def test_each_fault_is_named_with_its_numbers(challenger: Seen, said: str) -> None:
    numbers, faults = judge(seen(seed=1), challenger, LIMITS)
    assert len(faults) == 1
    assert re.search(said, faults[0]), faults
    assert numbers["requests"]["challenger"] == challenger.requests


def test_too_little_to_compare_with_is_no_proof_either() -> None:
    _, faults = judge(seen(requests=20), seen(), LIMITS)
    assert "1000 requests to it and 20 to the champion prove nothing" in faults[0]


def test_a_few_slow_requests_of_few_are_chance_and_of_many_are_not() -> None:
    for requests, slow in ((100, False), (5000, True)):
        challenger = seen(requests=requests, seed=3)
        for number in range(0, requests, 13):
            challenger.seconds[number] = 1.0
        assert bool(judge(seen(), challenger, LIMITS)[1]) == slow


def test_numbers_that_drift_apart_are_seen() -> None:
    _, same = judge(seen(seed=1, value=10), seen(seed=2, value=10), LIMITS)
    _, other = judge(seen(seed=1, value=10), seen(seed=2, value=11), LIMITS)
    assert same == [] and "stability index of value" in other[0]


@given(rate=st.floats(0, 0.5), requests=st.integers(100, 3000))
def test_failing_as_the_champion_does_is_no_fault(rate: float, requests: int) -> None:
    champion = seen(requests=requests, failed=round(rate * requests))
    challenger = seen(requests=requests, failed=round(rate * requests), seed=1)
    assert judge_errors(champion, challenger, LIMITS) == ""


@given(asked=st.integers(2, 5000))
def test_one_that_fails_every_request_is_found_out_by_the_second(asked: int) -> None:
    challenger = Seen(requests=asked)
    challenger.failed["boom"] = asked
    assert judge_errors(Seen(requests=1000), challenger, LIMITS)
    once = Seen(requests=1)
    once.failed["boom"] = 1
    assert judge_errors(Seen(requests=1000), once, LIMITS) == ""


def test_shares_must_grow() -> None:
    assert Deployment(canary=(0.05, 0.25)).minutes == 20
    for wrong in ((0.25, 0.05), (0.1, 0.1), (0.0,), (1.0,)):
        with pytest.raises(ValueError):
            Deployment(canary=wrong)
