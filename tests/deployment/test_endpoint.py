"""Whether all workers have followed, by what they say in the registry."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import UpdraftError
from tasks.core.registry import Registry, Worker
from tasks.deployment.endpoint import await_endpoint, await_trial, is_running

CANARY = {"version": 2, "mode": "canary", "share": 0.05}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = Registry(f"sqlite:///{tmp_path / 'registry.db'}")
    yield opened
    opened.close()


def tell(registry: Registry, host: str, version: int, trial: Mapping[str, Any] | None = None) -> None:
    challengers = {"tiny": trial} if trial else {}
    registry.tell_worker(f"{host}'s", Worker(f"http://{host}:3000", {"tiny": version}, challengers))


def test_without_workers_no_endpoint_is_running(registry: Registry) -> None:
    assert not is_running(registry)
    assert await_endpoint(registry, "tiny", 1) == "no endpoint is running"
    assert not await_trial(registry, "tiny", CANARY)


def test_a_promotion_waits_for_the_last_worker_and_names_one_that_does_not_follow(registry: Registry) -> None:
    tell(registry, "a", 2)
    tell(registry, "b", 1)
    assert is_running(registry)
    with pytest.raises(UpdraftError, match="http://b:3000 still answers with 1"):
        await_endpoint(registry, "tiny", 2, seconds=0.1)
    later = threading.Timer(0.5, tell, (registry, "b", 2))
    later.start()
    both = "http://a:3000/v1/tiny and http://b:3000/v1/tiny answer with version 2"
    assert await_endpoint(registry, "tiny", 2) == both
    later.join()


def test_a_trial_begins_when_every_worker_takes_part(registry: Registry) -> None:
    tell(registry, "a", 1, CANARY)
    tell(registry, "b", 1, {**CANARY, "share": 0.01})
    assert not await_trial(registry, "tiny", CANARY, seconds=0.1)
    later = threading.Timer(0.5, tell, (registry, "b", 1, CANARY))
    later.start()
    assert await_trial(registry, "tiny", CANARY)
    later.join()
