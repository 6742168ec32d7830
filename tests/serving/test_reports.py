"""What a worker tells the registry, aside of the requests."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.reports import Reports
from tasks.core.registry import Batch, Registry, Trial, Worker
from tests.serving.conftest import until

ADDRESS = "http://here:3000"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'registry.db'}"


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    opened = Registry(url)
    for key in "ab":
        opened.register("tiny", key, f"{key}/manifest.json", {})
    yield opened
    opened.close()


@pytest.fixture
def trial(registry: Registry) -> Trial:
    later = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=5)
    return registry.set_trial("tiny", 2, "canary", 0.5, until=later, expected=None, who="test", why="test")


def test_what_requests_leave_gets_to_the_judge_whole_and_once(registry: Registry, trial: Trial) -> None:
    reports = Reports(registry, ADDRESS, seconds=0.01)
    reports.start()

    def ask(client: int) -> None:
        for number in range(200):
            reports.add("tiny", trial.at, {"client": client, "number": number})
            time.sleep(0.0005)

    clients = [threading.Thread(target=ask, args=(client,)) for client in range(3)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    reports.stop()
    taken = registry.take_records(trial)
    found = [(record["client"], record["number"]) for batch in taken for record in batch.records]
    assert sorted(found) == [(client, number) for client in range(3) for number in range(200)]
    assert len(taken) > 1 and sum(batch.dropped for batch in taken) == 0


def test_what_does_not_fit_is_counted_and_told(registry: Registry, trial: Trial) -> None:
    reports = Reports(registry, ADDRESS, capacity=3)
    for number in range(5):
        reports.add("tiny", trial.at, {"number": number})
    reports.refresh()
    kept = [{"number": number} for number in range(3)]
    assert registry.take_records(trial) == [Batch("tiny", trial.at, kept, dropped=2)]
    reports.add("tiny", trial.at, {"number": 5})
    reports.refresh()
    assert registry.take_records(trial) == [Batch("tiny", trial.at, [{"number": 5}], dropped=0)]


def test_a_registry_that_fails_costs_records_which_are_told_later(
    url: str, registry: Registry, trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    reports, engine = Reports(registry, ADDRESS), sa.create_engine(url)

    def rename(table: str, name: str) -> None:
        with engine.begin() as db:
            db.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")

    rename("trial_records", "gone")
    with caplog.at_level("WARNING"):
        for _ in range(2):
            reports.add("tiny", trial.at, {"number": 1})
            reports.refresh()
    assert len(caplog.records) == 1 and "The registry does not take" in caplog.text
    rename("gone", "trial_records")
    engine.dispose()
    reports.add("tiny", trial.at, {"number": 3})
    reports.refresh()
    assert registry.take_records(trial) == [Batch("tiny", trial.at, [{"number": 3}], dropped=2)]


def test_a_worker_says_what_it_answers_with_and_that_it_ends(registry: Registry) -> None:
    reports = Reports(registry, ADDRESS, seconds=0.01)
    reports.start()
    assert registry.workers() == [Worker(ADDRESS, {}, {})]
    canary = {"version": 2, "mode": "canary", "share": 0.5}
    reports.tell({"tiny": 1}, {"tiny": canary})
    until(lambda: registry.workers() == [Worker(ADDRESS, {"tiny": 1}, {"tiny": canary})])
    reports.stop()
    assert registry.workers() == []
