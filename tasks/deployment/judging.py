"""What the records of a trial say of the challenger: errors, time to an answer, and how its answers are spread.

A step is judged by the records of its own time (`serving.trials`). While a canary answers, both versions get requests
of their own; of a shadow the same requests were asked, aside of the others and one at a time.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import chi2

from tasks.core.spec import Deployment
from tasks.runtime.baseline import stability, summarize

KEPT = 20_000
"""Answers and times of a version that are looked at: the newest."""

_FALSE_ALARM = 0.01
"""Chance of calling answers spread differently when they are not."""

_SURE = 2.326
"""Standard deviations above which chance alone goes once in a hundred times."""


@dataclass
class Seen:
    """What became of a version's requests in a step.

    Attributes:
        failed: error code to number of requests.
        seconds: the time that each answered request took, the newest.
        answers: the newest, as they were recorded (`serving.trials`).
    """

    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    answers: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, record: Mapping[str, Any]) -> None:
        """One more request."""
        self.requests += 1
        if record["failed"]:
            self.failed[record["failed"]] += 1
        else:
            self.seconds.append(record["seconds"])
            self.answers.extend(record["answers"])

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed."""
        return self.failed.total() / self.requests if self.requests else 0.0

    @property
    def p95_ms(self) -> float:
        """95th percentile of the time to an answer; 0 without any."""
        return float(np.quantile(self.seconds, 0.95)) * 1000 if self.seconds else 0.0


def judge_errors(champion: Seen, challenger: Seen, limits: Deployment) -> str:
    """Why the challenger fails too much to be asked any longer; empty: it does not. May be asked at any time.

    It may fail as the champion does and ``max_error_rate`` of its requests more; what the champion's rate would give by
    chance counts for nothing. Until there are ``min_requests``, that is a number of requests: a challenger that fails
    from its first one is found out by a few.
    """
    failed, rate, asked = challenger.failed.total(), champion.error_rate, challenger.requests
    chance = rate * asked + _SURE * math.sqrt(asked * rate * (1 - rate))
    if failed <= limits.max_error_rate * max(asked, limits.min_requests) + chance:
        return ""
    codes = ", ".join(f"{count} {code}" for code, count in challenger.failed.most_common(3))
    rates = f"the champion {rate:.2%}, at most {limits.max_error_rate:.2%} more are allowed"
    return f"it failed {failed} of {asked} requests ({codes}); {rates}"


def judge(champion: Seen, challenger: Seen, limits: Deployment) -> tuple[dict[str, Any], list[str]]:
    """The numbers of a step that is over, and why the challenger is refused; no reason: it goes on."""
    numbers: dict[str, Any] = {
        name: {"champion": champion_value, "challenger": value}
        for name, champion_value, value in (
            ("requests", champion.requests, challenger.requests),
            ("error_rate", champion.error_rate, challenger.error_rate),
            ("p95_ms", champion.p95_ms, challenger.p95_ms),
        )
    }
    failing = judge_errors(champion, challenger, limits)
    if failing:
        return numbers, [failing]
    few = min(champion.requests, challenger.requests)
    if few < limits.min_requests or not (champion.seconds and challenger.seconds):
        told = f"{challenger.requests} requests to it and {champion.requests} to the champion"
        return numbers, [f"{told} prove nothing: {limits.min_requests} of each are needed"]
    numbers["latency_ratio"] = challenger.p95_ms / max(champion.p95_ms, 1e-3)
    spread = score_drift(champion, challenger, limits.max_score_psi)
    numbers["score_psi"] = {name: psi for name, (psi, _) in spread.items()}
    return numbers, [*_slow(champion, challenger, limits), *_drifted(spread)]


def score_drift(champion: Seen, challenger: Seen, threshold: float) -> dict[str, tuple[float, float]]:
    """Population stability index of the answers' labels and probabilities, or values, and the limit each is held to:
    the threshold, or what chance alone would give for so few (`tasks.monitoring.drift` tells how), if that is more.
    """
    ours, theirs = _columns(champion), _columns(challenger)
    baseline = summarize(ours, {name: [name] for name in ours})
    indexes = stability(baseline, theirs)
    few = 1 / len(champion.answers) + 1 / len(challenger.answers)
    found = {}
    for name, (dimension,) in baseline.features.items():
        chance = few * chi2.isf(_FALSE_ALARM / len(ours), len(dimension.counts) - 1)
        found[name] = (indexes[f"{name}.{name}"], max(threshold, float(chance)))
    return found


def _columns(seen: Seen) -> dict[str, np.ndarray]:
    """Each part of the answers as a feature of one dimension."""
    kinds = {"label": object, "probability": np.float64, "value": np.float64}
    names = [name for name in kinds if name in seen.answers[0]]
    return {name: np.array([[answer[name]] for answer in seen.answers], kinds[name]) for name in names}


def _slow(champion: Seen, challenger: Seen, limits: Deployment) -> list[str]:
    """The 95th percentile is too long where more of the requests take longer than it may than 5 % and chance."""
    allowed = champion.p95_ms * limits.max_latency_ratio
    times = np.array(challenger.seconds) * 1000
    if (times > allowed).mean() <= 0.05 + _SURE * math.sqrt(0.05 * 0.95 / len(times)):
        return []
    compared = f"{challenger.p95_ms:.1f} ms at the 95th percentile, the champion {champion.p95_ms:.1f} ms"
    return [f"it takes {compared}, at most {limits.max_latency_ratio:g} times that is allowed"]


def _drifted(spread: Mapping[str, tuple[float, float]]) -> list[str]:
    return [
        f"its answers are spread differently: stability index of {name} {psi:.2f}, at most {limit:.2f} is allowed"
        for name, (psi, limit) in spread.items()
        if psi > limit
    ]
