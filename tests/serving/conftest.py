"""A running endpoint of a home of its own, shared by a module's tests, and models that fill a memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import endpoint as alone
from benchmarks.endpoint import Running, until
from serving import memory
from serving.memory import Memory
from serving.models import Live, read_live
from tasks.runtime.requests import read_requests
from tests.packages import KINDS, write_package, write_project


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """``bentoml serve`` with projects of images (``tiny``, ``idle``), numbers and words, and no champion yet."""
    with serve(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


@contextmanager
def serve(folder: Path, workers: int = 1, **more: object) -> Iterator[Running]:
    """An endpoint of these projects; see `benchmarks.endpoint.serve`."""
    for name in KINDS:
        write_project(folder / "projects", name)
    with alone.serve(folder, workers, **more) as running:
        yield running


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], tuple[Memory, list[Live]]]:
    """Makes a memory of so many MiB, and four models of 10 MiB each that go into it."""

    def made(mib: float) -> tuple[Memory, list[Live]]:
        resident = iter(range(0, 1000, 10))
        monkeypatch.setattr(memory, "_resident", lambda: float(next(resident)))
        found = Memory(mib)
        for number in range(4):
            write_package(tmp_path / str(number), name="people")
        return found, [read_live(tmp_path / str(number), found) for number in range(4)]

    return made


def logged(project: str, request_id: str, count: int) -> list[Mapping[str, Any]]:
    """The request's records, once there are so many."""
    found: list[Mapping[str, Any]] = []

    def all_there() -> bool:
        now = datetime.now(UTC)
        records = read_requests(project, now - timedelta(hours=1), now + timedelta(hours=1))
        found[:] = [r for r in records if r["request_id"] == request_id]
        return len(found) == count

    until(all_there)
    return found
