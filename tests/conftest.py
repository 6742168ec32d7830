"""Fixtures that every test may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.settings import settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty UPDRAFT_HOME of the test's own, with everything else at its default."""
    monkeypatch.setenv("UPDRAFT_HOME", str(tmp_path / "home"))
    for name in ("STORE", "DATABASE_URL", "PROJECTS"):
        monkeypatch.delenv(f"UPDRAFT_{name}", raising=False)
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()
