"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from tasks.core.settings import settings
from tasks.platform.environment import ONE_THREAD, QUIET

# As in every process of the platform, and before anything imports TensorFlow: the same sums, one thread per operation.
os.environ.update(QUIET | ONE_THREAD)

# How long an example takes depends on what else the machine does: no test here is about time.
hypothesis_settings.register_profile("updraft", deadline=None)
hypothesis_settings.load_profile("updraft")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty UPDRAFT_HOME of the test's own, with everything else at its default."""
    monkeypatch.setenv("UPDRAFT_HOME", str(tmp_path / "home"))
    for name in ("STORE", "DATABASE_URL", "PROJECTS"):
        monkeypatch.delenv(f"UPDRAFT_{name}", raising=False)
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()
