"""The command line with bad input: exit code 2, one message with the field or file and the fix, no stack trace."""

from pathlib import Path

import pytest

from tasks.core.settings import ROOT
from tests.cli.conftest import Updraft


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "nothing"), "projects"),
        (("run", "digits", "--set", "training.rank=1"), "ranks"),
        (("run", "digits", "--set", "training.ranks"), "FIELD=VALUE"),
        (("run", "digits", "--set", "source.uri=/no/such/place", "--set", "source.sample=null"), "/no/such/place"),
        (("stage", "nothing", "digits"), "ingest"),
        (("stage", "ingest", "digits", "--partition", "2031-01-01"), "source.uri"),
        (("stage", "train", "digits"), "updraft stage"),
        (("stage", "dataset", "digits"), "digits_features"),
        (("models", "show", "digits", "3"), "no version 3"),
        (("models", "promote", "digits", "3", "--why", "x"), "no version 3"),
        (("predict", "digits", "no-such-file.png"), "no-such-file.png"),
        (("nothing",), "nothing"),
        (("run",), "project"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    updraft: Updraft, home: Path, arguments: tuple[str, ...], told: str
) -> None:
    code, _, text = updraft(*arguments)
    assert code == 2
    assert told in text
    assert not (home / "store" / "digits").exists()


def test_a_store_that_cannot_be_written(updraft: Updraft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UPDRAFT_STORE", str(tmp_path / "file"))
    code, _, text = updraft("stage", "ingest", "digits", "--partition", "2026-01-01")
    assert code == 2
    assert "UPDRAFT_STORE" in text


@pytest.mark.parametrize("command", ["run", "models list"])
def test_a_home_that_cannot_be_written(
    updraft: Updraft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UPDRAFT_HOME", str(tmp_path / "file" / "home"))
    code, _, text = updraft(*command.split(), "digits")
    assert code == 2
    assert "UPDRAFT_HOME" in text


def test_a_broken_setting(updraft: Updraft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDRAFT_AIRFLOW_PORT", "many")
    code, _, text = updraft("status")
    assert code == 2
    assert "UPDRAFT_AIRFLOW_PORT" in text


def test_a_broken_yaml_names_file_and_line(updraft: Updraft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "projects" / "digits.yaml").read_text().replace("classes: [", "classes: [[")
    (tmp_path / "digits.yaml").write_text(text)
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path))
    code, _, told = updraft("run", "digits")
    assert code == 2
    assert "digits.yaml, line" in told


def test_an_unexpected_fault_goes_to_the_log(updraft: Updraft, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("something odd")

    monkeypatch.setattr("tasks.cli.models.load_project", broken)
    code, _, told = updraft("models", "list", "digits")
    assert code == 1
    assert "something odd" in told
    assert "Traceback" in (home / "logs" / "updraft.log").read_text()
