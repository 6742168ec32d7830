"""The request log: written by a thread, read by window."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tasks.runtime.requests import RequestLog, read_requests, sampled

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


def test_records_of_a_large_request_come_among_the_others_in_order(home: Path) -> None:
    log = RequestLog(home)
    log.start()
    for number in range(20):
        log.append("tiny", {"number": number, "features": np.float32([number / 3])}, is_one_of_many=number % 2 == 1)
    log.stop()
    assert [(r["number"], r["features"]) for r in _read()] == [(n, [round(n / 3, 5)]) for n in range(20)]


def test_values_that_json_can_spell_and_utf_8_or_64_bits_cannot_are_kept(home: Path) -> None:
    log = RequestLog(home)
    log.start()
    odd = [{"features": np.array(["half \ud800"], object)}, {"label": 10**30}, {"features": np.float32([np.nan, 1])}]
    for record in odd:
        log.append("tiny", record)
    log.stop()
    text, number, missing = _read()
    assert text["features"] == ["half \ud800"]
    assert number["label"] == 10**30
    assert missing["features"] == [None, 1]


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


def test_a_share_of_the_requests_is_chosen_by_their_ids() -> None:
    ids = [f"request-{n}" for n in range(4000)]
    kept = [name for name in ids if sampled(name, 0.25)]
    assert len(kept) / len(ids) == pytest.approx(0.25, abs=0.03)
    assert kept == [name for name in ids if sampled(name, 0.25)]
    assert set(kept) < {name for name in ids if sampled(name, 0.5)}
    assert all(sampled(name, 1.0) for name in ids) and not any(sampled(name, 0.0) for name in ids)


def test_days_past_the_projects_own_are_forgotten(home: Path) -> None:
    today = datetime.now(UTC).date()
    for project in ("tiny", "other"):
        for age in (0, 2, 3, 40):
            folder = home / "requests" / project / f"date={today - timedelta(days=age)}"
            folder.mkdir(parents=True)
            (folder / "elsewhere-1-0000.jsonl").write_text("{}\n")
    log = RequestLog(home)
    log.start()
    log.append("tiny", {"number": 1}, days=3)
    log.stop()
    left = {path.name for path in (home / "requests" / "tiny").iterdir()}
    assert left == {f"date={today - timedelta(days=age)}" for age in (0, 2)}
    # Nobody has said yet how long this project keeps its own.
    assert len(list((home / "requests" / "other").iterdir())) == 4


def test_all_logs_together_stay_under_the_cap_and_the_newest_are_kept(home: Path) -> None:
    cap = 400_000
    log = RequestLog(home, capacity=100_000, cap_mib=cap / 2**20)
    for number in range(3000):
        log.append("tiny" if number % 2 else "other", {"number": number, "features": "x" * 200})
    log.start()
    log.stop()
    files = list((home / "requests").rglob("*.jsonl"))
    assert 0 < sum(path.stat().st_size for path in files) <= cap
    for number in range(3000, 3300):
        log = RequestLog(home, cap_mib=cap / 2**20)
        log.append("tiny", {"number": number, "features": "x" * 5000})
        log.start()
        log.stop()
        if number % 100 == 99:
            assert sum(path.stat().st_size for path in (home / "requests").rglob("*.jsonl")) <= cap
    assert _read()[-1]["number"] == 3299
