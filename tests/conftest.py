"""Fixtures that every test may use."""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, Stage
from tasks.platform.environment import ONE_THREAD, QUIET
from tests.servers.http import inbox  # noqa: F401
from tests.servers.postgres import postgres  # noqa: F401
from tests.servers.s3 import s3, s3_server  # noqa: F401

# As in every process of the platform, and before anything imports TensorFlow: the same sums, one thread per operation.
os.environ.update(QUIET | ONE_THREAD)

# How long an example takes depends on what else the machine does: no test here is about time.
hypothesis_settings.register_profile("updraft", deadline=None)
hypothesis_settings.load_profile("updraft")


def pytest_collection_finish() -> None:
    """Keras collects garbage before and after each fit: what all test modules have imported is not walked each time."""
    gc.freeze()


_IN_NO_KEY = {"name", "description", "owner", "section", "model_dump", "model_copy", "model_dump_json"}
"""Of a spec: what stages may read whatever they declare, for it is in every key or changes no artifact."""

_DERIVED = {name for name, value in vars(Project).items() if isinstance(value, property)}
"""Of a spec: what follows from other fields; those count as read."""


@pytest.fixture(autouse=True, scope="session")
def stages_read_what_they_declare() -> Iterator[None]:
    """Every stage of the platform that a test executes fails if it reads a section of the spec that its key lacks."""
    work, read, reading = Stage.work, Project.__getattribute__, threading.local()

    def noted(spec: Project, name: str) -> Any:
        # What the spec's own checks read, when a stage makes another spec of it, says nothing.
        caller: Any = sys._getframe(1)
        while caller.f_globals["__name__"] == Project.__module__ and caller.f_code.co_name in _DERIVED:
            caller = caller.f_back.f_back  # past this function, which asked the property
        checks = caller.f_globals["__name__"] == Project.__module__
        if not name.startswith("_") and name not in _DERIVED and not checks:
            getattr(reading, "seen", set()).add(name)
        return read(spec, name)

    def watched(self: Stage, context: Context) -> Outcome:
        reading.seen = set()
        outcome = work(self, context)
        undeclared = reading.seen - {field.partition(".")[0] for field in self.fields} - _IN_NO_KEY
        assert not undeclared, f"stage {self.name} reads {sorted(undeclared)}, which pipeline.py does not declare"
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Project, "__getattribute__", noted)
        patch.setattr(Stage, "work", watched)
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty UPDRAFT_HOME of the test's own, with everything else at its default."""
    monkeypatch.setenv("UPDRAFT_HOME", str(tmp_path / "home"))
    for name in ("STORE", "DATABASE_URL", "PROJECTS"):
        monkeypatch.delenv(f"UPDRAFT_{name}", raising=False)
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()
