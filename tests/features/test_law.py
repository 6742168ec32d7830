"""The law of backfills: in any order, twice, or killed in the middle, the stores are those of an incremental build."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from feature_repo.names import offline_folder
from tasks.core.registry import Registry
from tasks.core.settings import ROOT, settings
from tasks.core.spec import Project
from tasks.core.store import open_store
from tests.features.conftest import SPEC, Platform, Row, some_rows
from tests.servers.online import empty, everything

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04")

HISTORY = {
    # Entities come again, late (an event of an earlier day), at the same time, and known later than they happened.
    DAYS[0]: [*some_rows(5, DAYS[0]), Row("e9", DAYS[0], seed=9)],
    DAYS[1]: [*some_rows(3, DAYS[1], start=3), Row("e0", DAYS[0], minute=0, seed=40), Row("e1", DAYS[0], seed=41)],
    DAYS[2]: [Row("e2", DAYS[2], seed=42, late=5), Row("e2", DAYS[0], minute=2, seed=43, late=50)],
    DAYS[3]: [*some_rows(2, DAYS[3]), Row("e9", DAYS[1], seed=44)],
}
WITHDRAWN = [Row("gone", DAYS[1], seed=60), Row("e5", DAYS[1], minute=900, seed=61), *some_rows(2, DAYS[1], start=70)]
"""What the second day held before it was corrected."""

KILLED = """
import os, signal
from tasks.features import newest
from tests.features.test_law import DAYS, HISTORY, here
newest.BATCH = 2
newest._spread = lambda _: os.kill(os.getpid(), signal.SIGKILL)
here().materialize(HISTORY[DAYS[1]], DAYS[1])
"""


def here() -> Platform:
    """The platform that the settings describe."""
    return Platform(Project.model_validate(SPEC), open_store(settings().store_uri), Registry(settings().registry_url))


def build(platform: Platform, days: Sequence[str]) -> None:
    for day in days:
        platform.materialize(HISTORY[day], day)


def contents(platform: Platform, server: str) -> dict[str, Any]:
    """Every offline file and everything that is online."""
    folder = offline_folder(platform.spec)
    files = {path: platform.store.read_bytes(path) for path in platform.store.list(folder)}
    assert len(files) == len(DAYS)
    return files | everything(server, settings().home / "feast" / "toy" / "online.db")


@pytest.fixture
def incremental(new_platform: Callable[..., Platform], server: str) -> dict[str, Any]:
    """What is there after an incremental build."""
    empty(server)
    platform = new_platform(server)
    build(platform, DAYS)
    return contents(platform, server)


def test_any_order_and_twice(incremental: dict[str, Any], new_platform: Callable[..., Platform], server: str) -> None:
    order = random.Random(5)
    for days in (DAYS[::-1], order.sample(DAYS, 4), [*order.sample(DAYS, 4), *order.sample(DAYS, 4)]):
        empty(server)
        platform = new_platform(server)
        build(platform, days)
        assert contents(platform, server) == incremental


def test_corrected_after_all(incremental: dict[str, Any], online: Platform, server: str) -> None:
    online.materialize(WITHDRAWN, DAYS[1])
    build(online, (DAYS[3], DAYS[1], DAYS[0], DAYS[2]))
    assert contents(online, server) == incremental


def test_forced_again(incremental: dict[str, Any], online: Platform, server: str) -> None:
    build(online, DAYS)
    for day in DAYS[::-1]:
        online.to_feast(online.features(HISTORY[day], day), force=True)
    assert contents(online, server) == incremental


@pytest.mark.slow
def test_killed_in_the_middle(incremental: dict[str, Any], online: Platform, server: str) -> None:
    build(online, (DAYS[0], DAYS[3]))
    online.materialize(WITHDRAWN, DAYS[1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    build(online, DAYS[1:3])
    assert contents(online, server) == incremental
    assert not list(Path(online.store.uri).rglob("touched/*.parquet"))
