"""``updraft models`` and ``updraft audit``: what a person reads, and what a program does."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tests.cli.conftest import Updraft
from tests.packages import write_project
from tests.versions import make_version

Command = Callable[..., str]


@pytest.fixture
def installation(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Three versions; the second is champion, the first was before it."""
    write_project(tmp_path / "projects")
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path / "projects"))
    monkeypatch.setenv("UPDRAFT_SERVING_PORT", "1")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("LOGNAME", "ana")
    settings.cache_clear()
    registry, store = Registry(settings().registry_url), LocalStore(Path(settings().store_uri))
    for number, accuracy in enumerate((0.8, 0.85, 0.9), start=1):
        make_version(registry, store, days=number, accuracy=accuracy)
    for before, version in ((None, 1), (1, 2)):
        registry.move_alias("tiny", "champion", version, expected=before, who="deploy", why="it was better")
    yield registry
    registry.close()


@pytest.fixture
def updraft(installation: Registry, updraft: Updraft, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command; gives what it wrote, of one that fails what it wrote to stderr."""
    monkeypatch.setattr("tasks.cli.shared.out.width", 160)

    def run(*arguments: str, code: int = 0) -> str:
        told = updraft(*arguments)
        assert told.code == code, told.err
        return told.err if code else told.out

    return run


def test_the_list_shows_where_each_alias_points(updraft: Command) -> None:
    text = updraft("models", "list", "tiny")
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert [row[:2] for row in rows[:2]] == [["1", "previous"], ["2", "champion"]]
    assert rows[2][:5] == ["3", "0.9000", "0.8500", "to", "0.9500"]
    told = [json.loads(line) for line in updraft("models", "list", "tiny", "--json").splitlines()]
    assert [(row["version"], row["aliases"], row["champion"]) for row in told] == [
        (1, ["previous"], False),
        (2, ["champion"], True),
        (3, [], False),
    ]
    assert [row["accuracy"] for row in told] == [0.8, 0.85, 0.9]


def test_show_tells_all_about_one_and_leads_back_to_the_raw_data(updraft: Command) -> None:
    text = updraft("models", "show", "tiny", "2", "--lineage")
    assert "tiny version 2 (champion)" in text
    assert "accuracy at least 0.5" in text
    assert "note: here onnxruntime is" in text
    assert "not the one of this checkout" in text
    assert text.count("raw source") == 2
    assert "9 artifacts" not in text and "8 artifacts; the key of each follows" in text
    told = json.loads(updraft("models", "show", "tiny", "2", "--lineage", "--json"))
    assert (told["version"], told["aliases"], told["form"]) == (2, ["champion"], "int8")
    assert [m["stage"] for m in told["lineage"]].count("ingest") == 2


def test_diff_tells_what_differs(updraft: Command) -> None:
    text = updraft("models", "diff", "tiny", "1", "3")
    assert "+0.1000" in text
    assert "ingest 2026-01-03" in text
    assert "The same: params, features, spec, code, libraries." in text
    assert json.loads(updraft("models", "diff", "tiny", "1", "3", "--json"))["rows"] == {"dataset train": [60, 180]}


def test_promotion_and_rollback_say_what_they_did_and_why_is_kept(updraft: Command, installation: Registry) -> None:
    text = updraft("models", "promote", "tiny", "3", "--why", "the client asked for it")
    assert "champion is version 3 (before: 2)" in text
    assert "no endpoint is running" in text
    assert "champion is version 2 (before: 3)" in updraft("models", "rollback", "tiny")
    assert updraft("models", "promote", "tiny", "3", "--why", "a try", "--alias", "challenger").count("\n") == 1
    assert installation.aliases("tiny") == {"champion": 2, "previous": 3, "challenger": 3}
    rows = installation.audit_log("tiny")[-3:]
    assert [row["who"] for row in rows] == ["ana"] * 3
    assert [row["details"]["why"] for row in rows] == ["the client asked for it", "rolled back from version 3", "a try"]


def test_a_trial_is_withdrawn_by_name(updraft: Command, installation: Registry) -> None:
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=1)
    installation.set_trial("tiny", 3, "canary", 0.1, until=until, expected=None, who="deploy", why="tried")
    assert "tiny: version 3 is tried no longer" in updraft("models", "withdraw", "tiny", "--why", "a customer called")
    assert installation.trial("tiny") is None
    row = installation.audit_log("tiny")[-1]
    assert (row["who"], row["details"]["why"]) == ("ana", "a customer called")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("withdraw", "tiny", "--why", "x"), "No version of tiny is tried"),
        (("promote", "tiny", "1"), "--why"),
        (("promote", "tiny", "9", "--why", "x"), "1, 2, 3"),
        (("promote", "tiny", "3", "--why", "x", "--alias", "previous"), "follows champion"),
        (("promote", "tiny", "1", "--why", "x", "--alias", "my model"), "not a name"),
        (("diff", "tiny", "1", "9"), "no version 9"),
        (("export", "tiny", "9"), "no version 9"),
        (("import", "no-such-file.zip"), "no-such-file.zip"),
        (("import", __file__), "no whole export"),
    ],
)
def test_bad_input_moves_nothing(
    updraft: Command, installation: Registry, arguments: tuple[str, ...], told: str
) -> None:
    before = installation.audit_log()
    assert told in updraft("models", *arguments, code=2)
    assert installation.audit_log() == before


def test_a_version_leaves_and_comes_again_by_file(
    updraft: Command, installation: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out.zip"
    sent = updraft("models", "export", "tiny", "2", str(file))
    assert "tiny version 2 was here already, as version 2" in updraft("models", "import", str(file))
    monkeypatch.setenv("UPDRAFT_HOME", str(tmp_path / "elsewhere"))
    settings.cache_clear()
    came = updraft("models", "import", str(file))
    assert "tiny version 2 is version 1 here" in came
    assert came.splitlines()[0].split()[-1] == sent.split()[-1]
    (row,) = [json.loads(line) for line in updraft("models", "list", "tiny", "--json").splitlines()]
    assert (row["version"], row["aliases"]) == (1, [])


def test_the_audit_log_is_shown_and_checked(updraft: Command, installation: Registry) -> None:
    assert updraft("audit", "tiny").splitlines()[-1].endswith("(alias champion, from 1, to 2): it was better")
    last = [json.loads(line) for line in updraft("audit", "--json").splitlines()][-1]
    checked = json.loads(updraft("audit", "--verify", "--json"))
    assert checked == {"rows": 5, "digest": last["digest"]}
    assert last["digest"] in updraft("audit", "--verify", "--noted", last["digest"])
    assert "no longer in it" in updraft("audit", "--noted", "0" * 63 + "1", code=1)
