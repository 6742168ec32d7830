"""Quarantined rows come back as they were written."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.store import LocalStore
from tasks.data.quarantine import Rejected, quarantine_path, read_quarantine, replay_command, write_quarantine

REJECTED = st.builds(
    Rejected,
    row=st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(), max_size=3),
    rule=st.text(),
    reason=st.text(),
    reasons=st.lists(st.text(), max_size=3),
    replay=st.text(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rejected=st.lists(REJECTED, max_size=4))
def test_what_is_written_is_read_back(tmp_path: Path, rejected: list[Rejected]) -> None:
    store = LocalStore(tmp_path)
    path = write_quarantine(store, "digits", "2026-01-01", rejected)
    assert path == quarantine_path("digits", "2026-01-01")
    assert read_quarantine(store, "digits", "2026-01-01") == rejected


def test_the_replay_command_names_project_and_partition() -> None:
    command = replay_command("digits", "2026-01-01")
    assert "updraft stage ingest digits --partition 2026-01-01" in command
    assert "updraft stage validate digits --partition 2026-01-01" in command
