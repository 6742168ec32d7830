"""What is said of quarantined rows, and where it stands."""

from pathlib import Path

import pytest

from tasks.core.store import LocalStore
from tasks.data.quarantine import Rejected, from_jsonl, quarantine_path, read_quarantine, replay_command


def test_rows_are_read_back_whatever_characters_they_hold(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    lines = (
        '{"row": {"row_id": 0, "größe": "a\u2028b\\nc"}, "rule": "r(größe)", "reason": "x", "reasons": ["x", "y"],'
        ' "detail": null, "replay": "updraft"}\n'
        '{"row": {"row_id": 3}, "rule": "r()", "reason": "y", "reasons": ["y"], "detail": "3", "replay": "updraft"}\n'
    )
    store.write_bytes(quarantine_path("digits", "2026-01-01"), lines.encode())
    first, second = read_quarantine(store, "digits", "2026-01-01")
    assert first == Rejected({"row_id": 0, "größe": "a\u2028b\nc"}, "r(größe)", "x", ["x", "y"], None, "updraft")
    assert (second.row, second.reason, second.detail) == ({"row_id": 3}, "y", "3")
    assert from_jsonl(b"") == []


def test_a_partition_that_was_not_validated_has_no_quarantine(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_quarantine(LocalStore(tmp_path), "digits", "2026-01-01")


def test_the_replay_command_names_project_and_partition() -> None:
    command = replay_command("digits", "2026-01-01")
    assert "updraft stage ingest digits --partition 2026-01-01" in command
    assert "updraft stage validate digits --partition 2026-01-01" in command
