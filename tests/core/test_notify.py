"""Notifications: a real server receives them, and none that fails does harm."""

import logging

import pytest

from tasks.core.notify import notify
from tasks.core.settings import settings
from tests.servers.http import Inbox


def _to(addresses: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDRAFT_NOTIFY", addresses)
    settings.cache_clear()


def test_with_nobody_to_tell_nothing_happens(home: object) -> None:
    assert notify("title", "body")


def test_every_address_gets_the_message(home: object, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    _to(f"{inbox.address}/one, {inbox.address}/two", monkeypatch)
    assert notify("digits: not promoted", "accuracy at least 0.97: 0.9000")
    told = [(message["title"], message["message"]) for message in inbox.messages]
    assert told == [("digits: not promoted", "accuracy at least 0.97: 0.9000")] * 2


@pytest.mark.parametrize("addresses", ["json://user:secret@127.0.0.1:9/", "nothing-known://secret@there", "secret"])
def test_what_cannot_be_delivered_is_logged_without_its_address(
    home: object, addresses: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _to(addresses, monkeypatch)
    with caplog.at_level(logging.DEBUG):
        assert not notify("digits: not promoted", "why")
    (record,) = (record for record in caplog.records if record.name == "updraft")
    assert "UPDRAFT_NOTIFY" in record.getMessage()
    assert not any("secret" in record.getMessage() for record in caplog.records)


def test_a_server_that_refuses_is_a_failure_too(home: object, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.status = 500
    _to(inbox.address, monkeypatch)
    assert not notify("title", "body")
    assert inbox.messages
