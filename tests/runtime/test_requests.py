"""The request log: written by a thread, read by window."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tasks.runtime.requests import RequestLog, read_requests

HOUR = timedelta(hours=1)


def _read() -> list:
    now = datetime.now(UTC)
    return list(read_requests("tiny", now - HOUR, now + HOUR))


def test_what_is_appended_is_read_back_in_order(home: Path) -> None:
    log = RequestLog(home)
    log.start()
    for number in range(500):
        log.append("tiny", {"kind": "prediction", "number": number, "features": np.float32([number / 3])})
    log.append("other", {"kind": "prediction", "number": -1})
    log.stop()
    records = _read()
    assert [record["number"] for record in records] == list(range(500))
    assert records[1]["features"] == [0.33333]
    assert log.dropped == 0


def test_only_the_window_is_read(home: Path) -> None:
    log = RequestLog(home)
    log.start()
    log.append("tiny", {"kind": "prediction"})
    log.stop()
    now = datetime.now(UTC)
    assert list(read_requests("tiny", now + HOUR, now + 2 * HOUR)) == []
    assert list(read_requests("tiny", now - 50 * HOUR, now - HOUR)) == []
    assert len(list(read_requests("tiny", now - 50 * HOUR, now + HOUR))) == 1


def test_a_full_queue_drops_and_counts_and_never_blocks(home: Path) -> None:
    log = RequestLog(home, capacity=3)
    for number in range(5):
        log.append("tiny", {"number": number})
    assert log.dropped == 2
    log.start()
    log.stop()
    assert [record["number"] for record in _read()] == [0, 1, 2]


def test_a_line_that_a_kill_cut_short_is_passed_over(home: Path) -> None:
    log = RequestLog(home)
    log.start()
    log.append("tiny", {"number": 1})
    log.stop()
    (path,) = (home / "requests" / "tiny").rglob("*.jsonl")
    path.write_text(path.read_text() + '{"time": "2026')
    assert [record["number"] for record in _read()] == [1]


def test_a_disk_that_fails_costs_the_records_and_nothing_else(home: Path) -> None:
    home.mkdir()
    (home / "requests").write_text("a file where the folder should be")
    log = RequestLog(home)
    log.start()
    log.append("tiny", {"number": 1})
    log.stop()
    (home / "requests").unlink()
    assert _read() == []
