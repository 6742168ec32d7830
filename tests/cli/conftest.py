"""The command line in this process."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks import cli
from tasks.core.settings import settings


class Told(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Updraft = Callable[..., Told]


@pytest.fixture
def updraft(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Updraft:
    """Runs ``updraft ARGUMENTS``; whatever it does, it shows nobody a stack trace."""

    def run(*arguments: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["updraft", *arguments])
        settings.cache_clear()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Told(code, told.out, told.err)

    return run
