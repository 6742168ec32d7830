"""Two writers on one SQLite file wait for each other, also where one of them reads first."""

import sqlite3
import threading
from pathlib import Path

import pytest

from tasks.platform.sqlite import CONNECT_ARGS


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file in write-ahead mode with one row."""
    path = tmp_path / "test.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE runs (n INTEGER)")
        connection.execute("INSERT INTO runs VALUES (0)")
    return path


def add_in_a_savepoint(path: Path, **connect: object) -> None:
    """Reads the row in a savepoint, lets another writer try, then writes what follows from what it read."""
    first = sqlite3.connect(path, **connect)
    cursor = first.cursor()
    cursor.execute("SAVEPOINT one")
    (n,) = cursor.execute("SELECT n FROM runs").fetchone()
    other = threading.Thread(target=_add_one, args=(path,))
    other.start()
    other.join(0.3)
    cursor.execute("UPDATE runs SET n = ?", (n + 1,))
    cursor.execute("RELEASE one")
    first.commit()
    other.join()


def _add_one(path: Path) -> None:
    second = sqlite3.connect(path, **CONNECT_ARGS)
    second.cursor().execute("UPDATE runs SET n = n + 1")
    second.commit()


def test_a_transaction_that_reads_before_it_writes_waits_and_loses_nothing(database: Path) -> None:
    add_in_a_savepoint(database, **CONNECT_ARGS)
    assert sqlite3.connect(database).execute("SELECT n FROM runs").fetchone() == (2,)


def test_without_it_the_database_is_locked_at_once(database: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        add_in_a_savepoint(database, timeout=30.0)
