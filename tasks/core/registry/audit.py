"""The audit log: who decided what, when, why and from which run; only ever appended to.

The database refuses to change or delete its rows (triggers, revision 0002). Whoever can drop triggers is found out by
the chain: each row holds a digest of its own contents and of the digest before it, so that a row that was changed,
taken out or put in between breaks every link after it. A tail that was cut off is found by a digest noted elsewhere.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tasks.core.artifacts import digest_json
from tasks.core.errors import Refused
from tasks.core.registry.database import Database
from tasks.core.registry.tables import AUDIT, now

GENESIS = "0" * 64
"""What stands for the digest before the first row."""

_CONTENTS = ("project", "action", "who", "run_id", "details", "at")


def link(previous: str, row: Mapping[str, Any]) -> str:
    """The digest of a row of the log, as it is read back, and of the digest before it."""
    values = {name: row[name].isoformat() if isinstance(row[name], datetime) else row[name] for name in _CONTENTS}
    return digest_json([previous, values])


class Audit(Database):
    """The part of the registry that remembers decisions."""

    def audit(self, project: str, action: str, who: str, details: Mapping[str, Any], run_id: str = "") -> None:
        """Appends one decision."""
        with self._alone() as db:
            self._append(db, project, action, who, details, run_id)

    def audit_log(self, project: str | None = None) -> list[Mapping[str, Any]]:
        """Decisions about a project or about all of them, oldest first: who, what, when, why, from which run."""
        query = sa.select(AUDIT).order_by(AUDIT.c.id)
        if project is not None:
            query = query.where(AUDIT.c.project == project)
        with self._engine.connect() as db:
            return [dict(row) for row in db.execute(query).mappings()]

    def verify_audit(self, noted: str | None = None) -> tuple[int, str]:
        """Follows the chain through the logs of all projects.

        Args:
            noted: a digest that the log ended with once; it must still stand in it.

        Returns:
            How many rows there are, and the digest of the last one.

        Raises:
            Refused: a row was changed, taken out or put in, or ``noted`` is gone.
        """
        rows, last, found = 0, GENESIS, noted in (None, GENESIS)
        with self._engine.connect() as db:
            for row in db.execute(sa.select(AUDIT).order_by(AUDIT.c.id)).mappings():
                if row["previous"] != last or row["digest"] != link(last, dict(row)):
                    told = f"row {row['id']} ({row['project']}, {row['action']}, {row['at']:%F %T} UTC)"
                    fix = "Compare with a backup of the database: this row, or rows before it, are not as written."
                    raise Refused(f"The audit log was tampered with: its chain breaks at {told}.", fix)
                rows, last = rows + 1, row["digest"]
                found = found or last == noted
        if not found:
            fix = "Compare with a backup of the database."
            raise Refused(f"The audit log was cut off or replaced: {noted} is no longer in it.", fix)
        return rows, last

    def _append(
        self, db: sa.Connection, project: str, action: str, who: str, details: Mapping[str, Any], run_id: str = ""
    ) -> None:
        """Appends a row in a transaction of ``_alone``: two rows must not follow the same one."""
        latest = sa.select(AUDIT.c.digest).order_by(AUDIT.c.id.desc()).limit(1)
        previous = db.execute(latest).scalar() or GENESIS
        row = {"project": project, "action": action, "who": who, "run_id": run_id, "at": now()}
        row["details"] = json.loads(json.dumps(details))  # as it will be read back: the digest is of that
        db.execute(AUDIT.insert().values(**row, previous=previous, digest=link(previous, row)))
