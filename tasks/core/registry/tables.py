"""The registry's tables as queries see them; the schema itself is Alembic's (`tasks/core/migrations/`)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

_TYPES: dict[str, Any] = {
    **dict.fromkeys(("at", "until", "step", "created_at", "expires_at", "revoked_at"), sa.DateTime()),
    **dict.fromkeys(("details", "scopes", "records", "versions", "challengers"), sa.JSON()),
    **dict.fromkeys(("id", "version", "per_minute", "dropped"), sa.Integer()),
    "seen": sa.BigInteger(),
    **dict.fromkeys(("seconds", "share"), sa.Float()),
}


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column, _TYPES.get(column)) for column in columns))


RUNS = _table("runs", "id", "run_id", "project", "stage", "partition", "manifest", "cache", "because", "seconds", "at")
PARTITIONS = _table("partitions", "project", "stage", "partition", "manifest", "at")
VERSIONS = _table("versions", "project", "version", "key", "package", "details", "at")
ALIASES = _table("aliases", "project", "alias", "version", "at")
TRIALS = _table("trials", "project", "version", "mode", "share", "at", "until")
TRIAL_RECORDS = _table("trial_records", "id", "project", "step", "dropped", "records")
WORKERS = _table("workers", "worker", "address", "versions", "challengers", "seen")
AUDIT = _table("audit", "id", "project", "action", "who", "run_id", "details", "at", "previous", "digest")
API_KEYS = _table(
    *("api_keys", "id", "name", "project", "scopes", "per_minute"),
    *("digest", "created_at", "expires_at", "revoked_at"),
)


def equal(table: sa.TableClause, values: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """The conditions that each named column has its value."""
    return [table.c[name] == value for name, value in values.items()]


def now() -> datetime:
    """The time in UTC, without its zone: SQLite keeps none, and every time in the registry is UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
