"""Online stores in a database: SQLite and PostgreSQL."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tasks.features.online_store import View, naming, shown

Statement = tuple[str, Sequence[tuple[Any, ...]]]
"""SQL, and rows of parameters to run it with, one after the other."""


class _Sql:
    """What SQLite and PostgreSQL have in common; ``?`` stands for a parameter."""

    def _run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        """Runs each statement for each of its rows of parameters, as one transaction; the last one's answer."""
        raise NotImplementedError

    def _has(self, table: str) -> bool:
        raise NotImplementedError

    def marks(self, view: View) -> dict[str, str]:
        """See `OnlineStore`."""
        if not self._has("updraft_dates"):
            return {}
        return dict(self._run(("SELECT day, digest FROM updraft_dates WHERE view = ?", [(view.table,)])))

    def mark(self, view: View, day: str, digest: str | None) -> None:
        """See `OnlineStore`."""
        columns = "view TEXT, day TEXT, digest TEXT, PRIMARY KEY (view, day)"
        self._run(
            (f"CREATE TABLE IF NOT EXISTS updraft_dates ({columns})", [()]),
            ("DELETE FROM updraft_dates WHERE view = ? AND day = ?", [(view.table, day)]),
            ("INSERT INTO updraft_dates VALUES (?, ?, ?)", [(view.table, day, digest)] if digest else []),
        )

    def forget(self, view: View, keys: Sequence[bytes]) -> None:
        """See `OnlineStore`."""
        self._run((f'DELETE FROM "{view.table}" WHERE entity_key = ?', [(key,) for key in keys]))


class SqliteOnline(_Sql):
    """A file of this machine; one writer and any number of readers beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def feast(self) -> dict[str, Any]:
        """See `OnlineStore`. The file is made ready for readers beside the writer."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._run(("PRAGMA journal_mode = WAL", [()]))
        return {"type": "sqlite", "path": str(self._path)}

    def identity(self) -> str:
        """See `OnlineStore`."""
        return f"{self._path} {self._path.stat().st_ino if self._path.exists() else None}"

    def reaching(self) -> AbstractContextManager[None]:
        """See `OnlineStore`."""
        return naming(str(self._path), sqlite3.Error)

    def _has(self, table: str) -> bool:
        known = "SELECT name FROM sqlite_master WHERE name = ?"
        return self._path.exists() and bool(self._run((known, [(table,)])))

    def _run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        with self.reaching(), closing(sqlite3.connect(self._path, timeout=60)) as connection:
            with connection:
                answers = [connection.execute(text, row).fetchall() for text, rows in statements for row in rows]
            return answers[-1] if answers else []


class PostgresOnline(_Sql):
    """A database that machines share."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._parts = urlsplit(url)

    def feast(self) -> dict[str, Any]:
        """See `OnlineStore`."""
        # Feast writes its times without a zone, and the server would read them in the session's.
        os.environ["PGTZ"] = "UTC"
        parts, options = self._parts, parse_qs(self._parts.query)
        return {
            "type": "postgres",
            "host": options.get("host", [parts.hostname or "localhost"])[0],
            "port": parts.port or 5432,
            "database": unquote(parts.path.lstrip("/")) or "postgres",
            "user": unquote(parts.username or "postgres"),
            "password": unquote(parts.password or ""),
            "sslmode": options.get("sslmode", ["prefer"])[0],
        }

    def identity(self) -> str:
        """See `OnlineStore`."""
        return self._url

    def reaching(self) -> AbstractContextManager[None]:
        """See `OnlineStore`."""
        import psycopg

        return naming(shown(self._parts), psycopg.Error)

    def _has(self, table: str) -> bool:
        return self._run(("SELECT to_regclass(?)", [(table,)])) != [(None,)]

    def _run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        import psycopg

        answer: list[tuple[Any, ...]] = []
        with self.reaching(), psycopg.connect(self._url) as connection:
            cursor = connection.cursor()
            for text, rows in statements:
                cursor.executemany(text.replace("?", "%s"), rows, returning=text.startswith("SELECT"))
            answer = cursor.fetchall() if cursor.description else []
        return answer
