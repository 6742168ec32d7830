"""The endpoint under load while champions switch, a worker is killed, and more is asked than it can take.

Two workers, and two versions of the digits of different families, so that one version's answers are told from the
other's, and each request's from its neighbours'.
"""

import base64
import json
import os
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from benchmarks.crowd import Answer, Crowd, Question, Timeline
from benchmarks.endpoint import Running, serve, until
from benchmarks.figures import Figure
from benchmarks.serving_models import in_a_process, picture, specs, write_project, write_version
from tasks.core.config import replace
from tasks.deployment.promote import promote, rollback
from tasks.runtime.predictor import Predictor

WORKERS, CONNECTIONS = 2, 16
SWITCHES = 100
SETTLED = 20
"""Switches after which memory is looked at first."""
PICTURES = 8
"""That are asked about in turn."""
CROWDED = 600
"""Connections of the overload: the queues of both workers together take 256 requests."""
ROWS = 4
"""Images in each request of the overload, so that the model is what is short, and not the client."""
AFTERWARDS = 200
"""Requests that are looked at when the overload has ended."""

_SAME = 1e-5
"""Between probabilities: rows that are predicted in company come out a little different."""
_GIVE_UP = 60.0
_BACK = 0.9
"""Of the requests per second before the kill."""

Expected = Mapping[int, list[tuple[str, float]]]
"""Version to label and probability for each question."""


def measure() -> list[Figure]:
    """Switches, then the kill, then the overload, of one server."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for spec in specs().values():
            write_project(spec, folder / "projects")
        with serve(folder, WORKERS) as endpoint:
            in_a_process(write_versions)
            for project in specs():
                endpoint.make_champion(1, project)
            until(lambda: len(endpoint.told()) == WORKERS)
            return [*_switching(endpoint), *_killing(endpoint), *_crowding(endpoint)]


def write_versions() -> None:
    """The digits' CNN as version 1 and a ResNet of them as version 2; the ResNet of larger images for the overload."""
    for name, spec in specs().items():
        write_version(spec, "bench")
        if name == "digits":
            write_version(replace(spec, {"model.family": "resnet", "model.units": []}), "other")


def _switching(endpoint: Running) -> Iterator[Figure]:
    expected, timeline, before = _expected(endpoint), Timeline(1), 0.0
    with Crowd(endpoint.port, _questions(), CONNECTIONS) as crowd:
        for number in range(SWITCHES):
            crowd.wait_for_more()
            if number == SETTLED:
                before = endpoint.resident_mib()
            version, move = ((2, _promote), (1, _roll_back))[number % 2]
            with timeline.switch(version):
                move(endpoint)
                endpoint.wait_for(version, "digits")
        crowd.wait_for_more()
    grown, median = endpoint.resident_mib() - before, statistics.median(timeline.seconds)
    failed = sum(answer.status != 200 for answer in crowd.answers) + len(crowd.lost) + len(crowd.refused)
    good = [answer for answer in crowd.answers if answer.status == 200]
    wrong = sum(not (_is_right(answer, expected) and timeline.was_live(answer)) for answer in good)
    what = f"{SWITCHES} promotions and rollbacks, {CONNECTIONS} connections"
    told = "not its version's, another request's, or of a version not live at that moment"
    yield Figure(f"{what}: failed requests", failed, "", "<= 0", f"{len(good)} answers")
    yield Figure(f"{what}: wrong answers", wrong, "", "<= 0", told)
    yield Figure(f"{what}: until all workers answer with the new version, median", median, "s")
    yield Figure(f"{what}: the same, worst", max(timeline.seconds), "s", "<= 5")
    after = f"{before:.0f} MiB after the first {SETTLED}"
    yield Figure(f"{what}: memory of both workers, growth", grown, "MiB", against=after)


def _killing(endpoint: Running) -> Iterator[Figure]:
    what = "kill -9 of one of two workers"
    with Crowd(endpoint.port, _questions(), CONNECTIONS, turns=10) as crowd:
        time.sleep(5)
        killed = time.monotonic()
        before = crowd.per_second(killed - 4, killed)
        dead = endpoint.workers()[0]
        os.kill(dead, signal.SIGKILL)

        def is_back() -> bool:
            now = time.monotonic()
            is_fast = now - killed > 1 and crowd.per_second(now - 1, now) >= _BACK * before
            return is_fast and len(endpoint.told() - {dead}) == WORKERS

        seconds = _seconds_until(is_back, killed)
        lowest = min(crowd.per_second(killed + n, killed + n + 1) for n in range(max(1, int(seconds))))
    opened = f"{crowd.opened} were opened, one for every 10 requests of a client"
    rates = f"{before:.0f}/s before, {lowest:.0f}/s in the slowest second"
    broken = f"of {CONNECTIONS}: their requests were under way in it"
    yield Figure(f"{what}: refused connections", len(crowd.refused), "", "<= 0", opened)
    yield Figure(f"{what}: answers other than 200", sum(a.status != 200 for a in crowd.answers), "", "<= 0")
    yield Figure(f"{what}: connections that broke", len(crowd.lost), "", against=broken)
    yield Figure(f"{what}: both answer, and {_BACK:.0%} of the requests/s are back", seconds, "s", "<= 20", rates)


def _crowding(endpoint: Running) -> Iterator[Figure]:
    images = [{"image": base64.b64encode(picture("resnet", seed)[0]).decode()} for seed in range(ROWS)]
    question = Question("/v1/resnet/predict", json.dumps({"instances": images}).encode(), "application/json")
    with Crowd(endpoint.port, [question], CROWDED, pause=0.1) as crowd:
        time.sleep(10)
    with Crowd(endpoint.port, [question], CONNECTIONS) as later:
        _seconds_until(lambda: len(later.answers) >= AFTERWARDS, time.monotonic())
    seen = Counter(answer.status for answer in crowd.answers)
    broken = len(crowd.lost) + len(crowd.refused)
    others = sum(seen.values()) - seen[200] - seen[429] + broken
    counted = f"{', '.join(f'{status}: {seen[status]}' for status in sorted(seen))}; {broken} broken or refused"
    hasty = sum(answer.status == 429 and not answer.retry_after for answer in crowd.answers)
    good = sum(answer.status == 200 for answer in later.answers[:AFTERWARDS])
    what = f"overload, {CROWDED} connections"
    yield Figure(f"{what}: neither 200 nor 429", others, "", "<= 0", counted)
    yield Figure(f"{what}: share of 429", seen[429] / sum(seen.values()), "")
    yield Figure(f"{what}: 429 without Retry-After", hasty, "", "<= 0")
    yield Figure(f"{what}: requests answered 200 afterwards", good, f"of {AFTERWARDS}", f">= {AFTERWARDS}")


def _questions() -> list[Question]:
    return [Question("/v1/digits/predict?top_k=1", *picture("digits", seed)) for seed in range(PICTURES)]


def _expected(endpoint: Running) -> Expected:
    """What each version answers, by itself in this process."""
    found = {}
    for number in (1, 2):
        package = endpoint.registry.version("digits", number).package
        predictor = Predictor.load(endpoint.store.fetch(package.rpartition("/")[0]))
        rows = predictor.predict_bytes([question.body for question in _questions()])
        found[number] = [(predictor.classes[row.argmax()], float(row.max())) for row in rows]
    sure = sorted(probability for answers in found.values() for _, probability in answers)
    assert min(b - a for a, b in pairwise(sure)) > 2 * _SAME, "answers cannot be told apart"
    return found


def _is_right(answer: Answer, expected: Expected) -> bool:
    (given,) = answer.value["predictions"]
    label, probability = expected[answer.value["version"]][answer.question]
    return given["label"] == label and abs(given["probability"] - probability) < _SAME


def _promote(endpoint: Running) -> None:
    promote(endpoint.registry, endpoint.store, "digits", 2, who="bench", why="bench")


def _roll_back(endpoint: Running) -> None:
    rollback(endpoint.registry, endpoint.store, "digits", who="bench")


def _seconds_until(condition: Callable[[], bool], since: float) -> float:
    """By the monotonic clock; where it never holds, when that was given up."""
    while not condition() and time.monotonic() < since + _GIVE_UP:
        time.sleep(0.1)
    return time.monotonic() - since
