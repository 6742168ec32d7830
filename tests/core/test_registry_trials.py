"""Trials: one per project, changed by compare-and-swap, ended by a promotion, passed over when their time is up; what
is recorded of their requests reaches whoever judges them, once.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.errors import BadInput, Conflict, UpdraftError
from tasks.core.registry import Batch, Registry, Trial, trials


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    opened = Registry(url)
    for key in "abc":
        opened.register("p", key, f"{key}/manifest.json", {})
    opened.move_alias("p", "champion", 1, expected=None, who="me", why="first")
    yield opened
    opened.close()


def begin(
    registry: Registry, share: float = 0.0, expected: Trial | None = None, version: int = 2, minutes: float = 5
) -> Trial:
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=minutes)
    return registry.set_trial(
        "p", version, "canary" if share else "shadow", share, until=until, expected=expected, who="deploy", why="tried"
    )


def actions(registry: Registry) -> list[str]:
    return [row["action"] for row in registry.audit_log("p")][4:]


def test_a_trial_takes_steps_and_ends_with_its_alias(registry: Registry) -> None:
    warm = begin(registry)
    assert registry.trial("p") == warm and (warm.mode, warm.share) == ("shadow", 0)
    assert registry.aliases("p") == {"champion": 1, "challenger": 2}
    step = begin(registry, 0.05, warm)
    assert registry.trials() == {"p": step}
    registry.end_trial(step, who="deploy", why="too slow", found={"latency_ratio": 3.2})
    assert registry.trial("p") is None
    assert registry.aliases("p") == {"champion": 1}
    assert actions(registry) == ["trial", "trial", "end_trial"]
    told = registry.audit_log("p")[-1]["details"]
    assert told == {"version": 2, "mode": "canary", "share": 0.05, "why": "too slow", "latency_ratio": 3.2}
    registry.verify_audit()


def test_who_does_not_know_the_trial_as_it_is_cannot_change_it(registry: Registry) -> None:
    warm = begin(registry)
    step = begin(registry, 0.05, warm)
    for expected in (None, warm):
        with pytest.raises(Conflict, match=r"version 2 is tried \(canary, 0\.05\)(.|\n)*withdraw p"):
            begin(registry, 0.5, expected, version=3)
    with pytest.raises(Conflict):
        registry.end_trial(warm, who="late", why="")
    assert registry.trial("p") == step
    registry.end_trial(step, who="me", why="")
    with pytest.raises(Conflict, match="it was ended"):
        begin(registry, 0.5, step)
    with pytest.raises(BadInput, match="no version 9"):
        begin(registry, version=9)
    assert actions(registry) == ["trial", "trial", "end_trial"]


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_a_promotion_ends_the_trial_in_the_same_moment(registry: Registry, alias: str) -> None:
    begin(registry, 0.05)
    registry.move_alias("p", alias, 3, expected=registry.aliases("p")[alias], who="ana", why="I know better")
    assert registry.trial("p") is None
    expected = {"champion": 3, "previous": 1} if alias == "champion" else {"champion": 1, "challenger": 3}
    assert registry.aliases("p") == expected


def test_a_trial_whose_owner_died_runs_out_and_the_next_takes_its_place(registry: Registry) -> None:
    left = begin(registry, 0.05, minutes=-1)
    assert registry.trial("p") is None
    assert begin(registry, version=3).version == 3
    assert registry.aliases("p")["challenger"] == 3
    with pytest.raises(Conflict):
        registry.end_trial(left, who="deploy", why="it came back")


def test_what_is_recorded_of_a_step_is_given_once_and_goes_with_it(registry: Registry) -> None:
    warm = begin(registry)
    step = begin(registry, 0.05, warm)
    kept = Batch("p", step.at, [{"version": 2, "answers": [{"label": "ä\0", "probability": 0.25}]}], dropped=3)
    registry.keep_records(kept)
    assert registry.take_records(warm) == []
    assert registry.take_records(step) == [kept]
    assert registry.take_records(step) == []
    registry.keep_records(kept)
    after = begin(registry, 0.25, step)
    registry.keep_records(kept)
    assert registry.take_records(step) == registry.take_records(after) == [], "late for its step"
    last = Batch("p", after.at, [{"version": 1}])
    registry.keep_records(last)
    registry.end_trial(after, who="deploy", why="too slow")
    registry.keep_records(last)
    assert registry.take_records(after) == []


def test_a_promotion_takes_the_records_of_the_trial_with_it(registry: Registry) -> None:
    step = begin(registry, 0.05)
    registry.keep_records(Batch("p", step.at, [{"version": 1}]))
    registry.move_alias("p", "champion", 2, expected=1, who="ana", why="I know better")
    assert registry.take_records(step) == []


def test_no_record_is_missed_and_none_given_twice_while_workers_write(registry: Registry) -> None:
    step = begin(registry, 0.05)

    def write(worker: int) -> None:
        for number in range(20):
            registry.keep_records(Batch("p", step.at, [{"worker": worker, "number": number}]))

    taken: list[Batch] = []
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write, worker) for worker in range(4)]
        while not all(each.done() for each in writing):
            taken += registry.take_records(step)
    for each in writing:
        each.result()
    taken += registry.take_records(step)
    found = sorted((record["worker"], record["number"]) for batch in taken for record in batch.records)
    assert found == [(worker, number) for worker in range(4) for number in range(20)]


def test_records_that_nobody_takes_are_bounded(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST_WAITING", 2)
    step = begin(registry, 0.05)
    for _ in range(2):
        registry.keep_records(Batch("p", step.at, [{"version": 1}]))
    with pytest.raises(UpdraftError, match=r"p: nobody takes(.|\n)*updraft models withdraw p"):
        registry.keep_records(Batch("p", step.at, [{"version": 1}]))
    assert len(registry.take_records(step)) == 2
    registry.keep_records(Batch("p", step.at, [{"version": 1}]))
