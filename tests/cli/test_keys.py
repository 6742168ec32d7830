"""``updraft keys``: made, listed, revoked; the key itself is shown once and kept nowhere."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tasks.core.keys import digest_of
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tests.cli.conftest import Updraft


@pytest.fixture
def keys(updraft: Updraft) -> Updraft:
    """Runs ``updraft keys ARGUMENTS``."""
    return partial(updraft, "keys")


def test_a_key_is_shown_once_and_its_digest_kept(keys: Updraft, home: Path) -> None:
    code, out, told = keys("create", "the shop", "--project", "digits", "--per-minute", "60", "--expires", "2d")
    (key,) = out.splitlines()  # what $(updraft keys create ...) gives
    assert code == 0 and key.startswith("updraft_") and len(key) > 50
    assert "predict, feedback on digits, 60 requests a minute" in told
    registry = Registry(settings().registry_url)
    (kept,) = registry.keys()
    assert kept.digest == digest_of(key.encode())
    now = datetime.now(UTC).replace(tzinfo=None)
    assert kept.expires_at is not None and now + timedelta(hours=47) < kept.expires_at < now + timedelta(hours=49)
    for listed in (keys("list")[1], keys("list", "--json")[1]):
        assert "the shop" in listed and key not in listed and kept.digest not in listed
    assert not [path for path in home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert [row["action"] for row in registry.audit_log("digits")] == ["add_key"]
    registry.close()


def test_a_program_reads_the_key_and_its_state(keys: Updraft) -> None:
    made = json.loads(keys("create", "ops", "--scope", "admin", "--scope", "predict", "--scope", "admin", "--json")[1])
    assert (made["project"], made["scopes"], made["state"]) == ("*", ["predict", "admin"], "valid")
    assert keys("revoke", str(made["id"]))[0] == 0
    (row,) = json.loads(keys("list", "--json")[1])
    assert row["state"] == "revoked" and row["revoked_at"] and "key" not in row
    assert keys("revoke", str(made["id"]))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "a\nb"), "name"),
        (("create", "x", "--project", "nothing"), "digits"),
        (("create", "x", "--scope", "everything"), "predict, feedback, admin"),
        (("create", "x", "--expires", "soon"), "90d"),
        (("create", "x", "--per-minute", "0"), "per-minute"),
        (("revoke", "7"), "no key 7"),
    ],
)
def test_bad_input_is_named_with_its_fix(keys: Updraft, arguments: tuple[str, ...], told: str) -> None:
    code, _, err = keys(*arguments)
    assert code == 2 and told in err
