"""Keys of the endpoint: what each may do, never the key itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tasks.core.errors import BadInput
from tasks.core.registry.audit import Audit
from tasks.core.registry.tables import API_KEYS, now


@dataclass(frozen=True)
class ApiKey:
    """One key.

    Attributes:
        project: the one that it is for; ``*``: all.
        scopes: of ``predict``, ``feedback`` and ``admin``.
        per_minute: how many requests it may make; None: as many as it likes.
        digest: SHA-256 of the key, 64 hexadecimal digits.
        expires_at: UTC, without zone, as the other times.
    """

    id: int
    name: str
    project: str
    scopes: tuple[str, ...]
    per_minute: int | None
    digest: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Keys(Audit):
    """The part of the registry that knows who may ask the endpoint."""

    def add_key(
        self,
        *,
        name: str,
        project: str,
        scopes: Sequence[str],
        digest: str,
        who: str,
        per_minute: int | None = None,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        """Keeps a new key by its digest, and writes the audit row."""
        values: dict[str, Any] = {"name": name, "project": project, "scopes": list(scopes), "per_minute": per_minute}
        values |= {"digest": digest, "created_at": now(), "expires_at": expires_at}
        with self._alone() as db:
            db.execute(API_KEYS.insert().values(**values))
            row = db.execute(sa.select(API_KEYS).where(API_KEYS.c.digest == digest)).mappings().one()
            told = {"id": row["id"], "name": name, "scopes": list(scopes)}
            self._append(db, project, "add_key", who, told)
            return _key(row)

    def keys(self) -> list[ApiKey]:
        """All keys, oldest first, those that expired or were revoked included."""
        with self._engine.connect() as db:
            return [_key(row) for row in db.execute(sa.select(API_KEYS).order_by(API_KEYS.c.id)).mappings()]

    def revoke_key(self, key: int, who: str) -> ApiKey:
        """Ends a key for good, and writes the audit row; one that was revoked stays as it is.

        Args:
            key: its ``id``.

        Raises:
            BadInput: there is no such key.
        """
        query = sa.select(API_KEYS).where(API_KEYS.c.id == key)
        with self._alone() as db:
            row = db.execute(query).mappings().first()
            if row is None:
                raise BadInput(f"There is no key {key}.", "List them: updraft keys list.")
            if row["revoked_at"] is None:
                db.execute(API_KEYS.update().where(API_KEYS.c.id == key).values(revoked_at=now()))
                self._append(db, row["project"], "revoke_key", who, {"id": key, "name": row["name"]})
            return _key(db.execute(query).mappings().one())


def _key(row: sa.RowMapping) -> ApiKey:
    return ApiKey(**{**row, "scopes": tuple(row["scopes"])})
