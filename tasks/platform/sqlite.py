"""How Airflow's processes share one SQLite file without failing each other.

SQLite waits for a busy writer, but not where a transaction has read before it wants to write: what it read may be old
by then, so it says "database is locked" at once. Airflow's savepoints begin such transactions. A backfill that fails so
deletes the runs it was to repeat, under the feet of the scheduler, which then ends with a ``StaleDataError``. Here a
transaction that begins with a savepoint takes its place in the queue of writers before it reads.

See "Serializable isolation / Savepoints" in SQLAlchemy's notes on pysqlite, and SQLITE_BUSY_SNAPSHOT in SQLite's.
"""

import sqlite3
from typing import Any, Self


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        if sql.startswith("SAVEPOINT") and not self.connection.in_transaction:
            super().execute("BEGIN IMMEDIATE")
        return super().execute(sql, parameters)


class Connection(sqlite3.Connection):
    """A connection on which a transaction that begins with a savepoint is a writer from the start."""

    def cursor(self, factory: Any = _Cursor) -> Any:
        """A cursor that begins such transactions."""
        return super().cursor(factory)


CONNECT_ARGS = {"factory": Connection, "isolation_level": "IMMEDIATE", "timeout": 30.0}
"""For ``sqlite3.connect``: a writer waits its turn for up to 30 s (by default 5) before it gives up."""
