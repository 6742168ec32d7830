"""Model versions, which are never changed, and the aliases that point to them, which move by compare-and-swap."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tasks.core.errors import BadInput, Conflict
from tasks.core.registry.audit import Audit
from tasks.core.registry.tables import ALIASES, AUDIT, TRIAL_RECORDS, TRIALS, VERSIONS, equal, now

CHAMPION = "champion"
"""The version that endpoints answer with."""

PREVIOUS = "previous"
"""The champion before it; follows ``champion`` by itself."""

CHALLENGER = "challenger"
"""The version that is tried beside the champion, or one that a person has named so."""


@dataclass(frozen=True)
class Version:
    """One immutable model version.

    Attributes:
        key: its package's key: the same package is never registered twice.
        package: path in the store of the manifest of its package.
        details: metrics, gate results, the candidate's training key, and the champion it was judged against.
    """

    project: str
    version: int
    key: str
    package: str
    details: Mapping[str, Any]
    at: datetime

    @property
    def measured(self) -> Mapping[str, Any]:
        """``metrics`` and ``intervals`` of the form that is served, on the held-out split.

        Versions of before there were forms have the metrics of their one form, and no intervals.
        """
        report = self.details.get("metrics", {})
        found = report.get("forms", {}).get(self.details.get("form"))
        return found or {"metrics": report.get("candidate", {}), "intervals": {}}


class Versions(Audit):
    """The part of the registry that knows the models."""

    def register(
        self,
        project: str,
        key: str,
        package: str,
        details: Mapping[str, Any],
        *,
        who: str = "deploy",
        why: str = "passed its gates",
        run_id: str = "",
    ) -> Version:
        """The version of the package ``key``: a new one with the next number, or the one it already has.

        Args:
            who: for the audit row of a new one, as ``why`` and ``run_id``.
        """
        known = {"project": project, "key": key}
        with self._alone() as db:
            if not db.execute(sa.select(VERSIONS.c.version).where(*equal(VERSIONS, known))).first():
                last = sa.select(sa.func.max(VERSIONS.c.version)).where(VERSIONS.c.project == project)
                number = (db.execute(last).scalar() or 0) + 1
                values = {**known, "version": number, "package": package, "details": details, "at": now()}
                db.execute(VERSIONS.insert().values(**values))
                self._append(db, project, "register", who, {"version": number, "key": key, "why": why}, run_id)
            return Version(**db.execute(sa.select(VERSIONS).where(*equal(VERSIONS, known))).mappings().one())

    def versions(self, project: str) -> list[Version]:
        """A project's versions, oldest first."""
        query = sa.select(VERSIONS).where(VERSIONS.c.project == project).order_by(VERSIONS.c.version)
        with self._engine.connect() as db:
            return [Version(**row) for row in db.execute(query).mappings()]

    def version(self, project: str, number: int) -> Version:
        """One version.

        Raises:
            BadInput: there is no such version; the message lists those there are.
        """
        found = {version.version: version for version in self.versions(project)}
        if number not in found:
            raise _no_version(project, number, list(found))
        return found[number]

    def alias(self, project: str, alias: str = CHAMPION) -> Version | None:
        """The version that ``alias`` points to, if any."""
        same = sa.and_(ALIASES.c.project == VERSIONS.c.project, ALIASES.c.version == VERSIONS.c.version)
        query = sa.select(VERSIONS).select_from(VERSIONS.join(ALIASES, same))
        query = query.where(*equal(ALIASES, {"project": project, "alias": alias}))
        with self._engine.connect() as db:
            row = db.execute(query).mappings().first()
        return Version(**row) if row else None

    def aliases(self, project: str) -> dict[str, int]:
        """Alias to the number of the version that it points to."""
        with self._engine.connect() as db:
            return _aliases(db, project)

    def move_alias(
        self, project: str, alias: str, version: int, *, expected: int | None, who: str, why: str, run_id: str = ""
    ) -> None:
        """Points ``alias`` to ``version`` if it still points to ``expected`` (None: nowhere), and writes the audit row.

        With ``champion`` moves ``previous``, to what was champion, and a trial ends, as it does with ``challenger``:
        all of it in one transaction.

        Raises:
            Conflict: somebody else moved the alias meanwhile; nothing was changed.
            BadInput: there is no such version, or ``alias`` is ``previous``.
        """
        if alias == PREVIOUS:
            raise BadInput(f"{PREVIOUS} follows {CHAMPION} by itself.", f"Move {CHAMPION}: updraft models promote.")
        with self._alone() as db:
            _check_version(db, project, version)
            there = _aliases(db, project)
            if there.get(alias) != expected:
                raise _lost(db, project, alias, expected, there.get(alias))
            if alias in (CHAMPION, CHALLENGER) and drop_trial(db, project):
                there.pop(CHALLENGER, None)
            _point(db, project, alias, version, there)
            if alias == CHAMPION and expected not in (None, version):
                _point(db, project, PREVIOUS, expected, there)
            details = {"alias": alias, "from": expected, "to": version, "why": why}
            self._append(db, project, "move_alias", who, details, run_id)


def challenge(db: sa.Connection, project: str, version: int) -> None:
    """Points ``challenger`` to the version.

    Raises:
        BadInput: there is no such version.
    """
    _check_version(db, project, version)
    _point(db, project, CHALLENGER, version, _aliases(db, project))


def drop_trial(db: sa.Connection, project: str) -> bool:
    """Removes the project's trial, if there is one, its records and the alias ``challenger``; whether there was one."""
    db.execute(TRIAL_RECORDS.delete().where(TRIAL_RECORDS.c.project == project))
    if not db.execute(TRIALS.delete().where(TRIALS.c.project == project)).rowcount:
        return False
    db.execute(ALIASES.delete().where(*equal(ALIASES, {"project": project, "alias": CHALLENGER})))
    return True


def _check_version(db: sa.Connection, project: str, version: int) -> None:
    numbers = db.execute(sa.select(VERSIONS.c.version).where(VERSIONS.c.project == project)).scalars().all()
    if version not in numbers:
        raise _no_version(project, version, sorted(numbers))


def _aliases(db: sa.Connection, project: str) -> dict[str, int]:
    query = sa.select(ALIASES.c.alias, ALIASES.c.version).where(ALIASES.c.project == project)
    return {row.alias: row.version for row in db.execute(query.order_by(ALIASES.c.alias))}


def _point(db: sa.Connection, project: str, alias: str, version: int | None, there: Mapping[str, int]) -> None:
    where = {"project": project, "alias": alias}
    if alias in there:
        db.execute(ALIASES.update().where(*equal(ALIASES, where)).values(version=version, at=now()))
    else:
        db.execute(ALIASES.insert().values(**where, version=version, at=now()))


def _lost(db: sa.Connection, project: str, alias: str, expected: int | None, found: int | None) -> Conflict:
    """What to tell the one who comes second: who was first."""
    moves = sa.select(AUDIT).where(*equal(AUDIT, {"project": project, "action": "move_alias"}))
    rows = db.execute(moves.order_by(AUDIT.c.id.desc())).mappings()
    last = next((row for row in rows if row["details"]["alias"] == alias), None)
    by = f", moved by {last['who']} at {last['at']:%F %T} UTC: {last['details']['why']}" if last else ""
    return Conflict(
        f"{project}: {alias} is no longer {_named(expected)}; it is {_named(found)} now{by}.",
        f"See updraft models list {project}; judge the candidate against that champion: run the train DAG again.",
    )


def _no_version(project: str, number: int, known: list[int]) -> BadInput:
    there = ", ".join(map(str, known)) or "none"
    return BadInput(f"{project} has no version {number}.", f"Versions there are: {there}.")


def _named(version: int | None) -> str:
    return "unset" if version is None else f"version {version}"
