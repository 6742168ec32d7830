"""Online stores in a database: SQLite and PostgreSQL."""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from tasks.runtime.online.encoding import decode_value, entity_key
from tasks.runtime.online.store import Stored, View, driver, naming, shown

Statement = tuple[str, Sequence[tuple[Any, ...]]]
"""SQL, and rows of parameters to run it with, one after the other."""

_PATIENCE = 5
"""Seconds for a server to take a connection."""


class _Sql:
    """What SQLite and PostgreSQL have in common; ``?`` stands for a parameter."""

    def _run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        """Runs each statement for each of its rows of parameters, as one transaction; the last one's answer."""
        raise NotImplementedError

    def _has(self, table: str) -> bool:
        raise NotImplementedError

    def _select(self, view: View, keys: Sequence[bytes]) -> list[tuple[bytes, str, bytes, datetime]]:
        """Entity key, feature, value and event time (UTC) of all that is there of ``keys``."""
        raise NotImplementedError

    def read(self, view: View, entities: Sequence[str]) -> list[Stored | None]:
        """See `OnlineStore`."""
        keys = [entity_key(entity) for entity in entities]
        values: dict[bytes, dict[str, np.ndarray | None]] = defaultdict(dict)
        times: dict[bytes, datetime] = {}
        for key, name, value, at in self._select(view, keys):
            values[key][name], times[key] = decode_value(value), at
        return [Stored(times[key], values[key]) if key in times else None for key in keys]

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

    def forget(self, view: View, entities: Sequence[str]) -> None:
        """See `OnlineStore`."""
        self._run((f'DELETE FROM "{view.table}" WHERE entity_key = ?', [(entity_key(entity),) for entity in entities]))


class SqliteOnline(_Sql):
    """A file of this machine; one writer and any number of readers beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def feast(self) -> dict[str, Any]:
        """See `OnlineStore`. The file is made ready for readers beside the writer."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._run(("PRAGMA journal_mode = WAL", [()]))
        return {"type": "sqlite", "path": str(self._path)}

    def reaching(self) -> AbstractContextManager[None]:
        """See `OnlineStore`."""
        return naming(str(self._path), sqlite3.Error)

    def _has(self, table: str) -> bool:
        known = "SELECT name FROM sqlite_master WHERE name = ?"
        return self._path.exists() and bool(self._run((known, [(table,)])))

    def _select(self, view: View, keys: Sequence[bytes]) -> list[tuple[bytes, str, bytes, datetime]]:
        if not self._has(view.table):
            return []
        wanted = ",".join("?" * len(keys))
        text = f'SELECT entity_key, feature_name, value, event_ts FROM "{view.table}" WHERE entity_key IN ({wanted})'
        rows = self._run((text, [tuple(keys)]))
        # Feast writes UTC's clock as if it were the machine's own: reading it back the same way gives UTC's again.
        return [(key, name, value, datetime.fromtimestamp(at).replace(tzinfo=UTC)) for key, name, value, at in rows]

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

    def reaching(self) -> AbstractContextManager[None]:
        """See `OnlineStore`."""
        return naming(shown(self._parts), driver("psycopg").Error)

    def _has(self, table: str) -> bool:
        return self._run(("SELECT to_regclass(?)", [(table,)])) != [(None,)]

    def _select(self, view: View, keys: Sequence[bytes]) -> list[tuple[bytes, str, bytes, datetime]]:
        psycopg = driver("psycopg")
        columns = "entity_key, feature_name, value, event_ts"
        text = f'SELECT {columns} FROM "{view.table}" WHERE entity_key = ANY(%s)'
        with self.reaching():
            try:
                rows = self._ask(text, list(keys))
            except psycopg.errors.UndefinedTable:
                return []
        return [(bytes(key), name, bytes(value), at.astimezone(UTC)) for key, name, value, at in rows]

    def _ask(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        psycopg = driver("psycopg")
        try:
            return _reader(self._url).execute(text, parameters).fetchall()
        except psycopg.OperationalError:
            # A server that was started again has closed the connection that we hold.
            _reader.cache_clear()
            return _reader(self._url).execute(text, parameters).fetchall()

    def _run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        psycopg = driver("psycopg")
        answer: list[tuple[Any, ...]] = []
        with self.reaching(), psycopg.connect(self._url) as connection:
            cursor = connection.cursor()
            for text, rows in statements:
                cursor.executemany(text.replace("?", "%s"), rows, returning=text.startswith("SELECT"))
            answer = cursor.fetchall() if cursor.description else []
        return answer


@lru_cache
def _reader(url: str) -> Any:
    """The process's connection for look-ups, which threads may share: opening one costs more than asking it."""
    return driver("psycopg").connect(url, autocommit=True, connect_timeout=_PATIENCE)
