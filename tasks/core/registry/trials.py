"""Which version is tried beside the champion, on what part of the requests, until when, and what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from tasks.core.errors import Conflict, UpdraftError
from tasks.core.registry.tables import TRIAL_RECORDS, TRIALS, equal, now
from tasks.core.registry.versions import Versions, challenge, drop_trial

Mode = Literal["shadow", "canary"]

MOST_WAITING = 1000
"""Batches of a step that wait to be taken: more of them wait for nobody."""


@dataclass(frozen=True)
class Trial:
    """A challenger that requests reach.

    Attributes:
        mode: ``shadow``: it is asked, too, and the champion answers. ``canary``: it answers its share.
        share: of the requests, 0 to 1.
        at: when this step began, UTC without zone, as the other times.
        until: when endpoints pass it over. Whoever runs the trial may be dead by then.
    """

    project: str
    version: int
    mode: Mode
    share: float
    at: datetime
    until: datetime


@dataclass(frozen=True)
class Batch:
    """What a worker has to say of some requests of a trial.

    Attributes:
        step: ``at`` of the trial, which tells the requests of a step from those of the one before.
        records: one for each request, see `serving.trials`.
        dropped: requests that it could not keep record of.
    """

    project: str
    step: datetime
    records: Sequence[Mapping[str, Any]]
    dropped: int = 0


class Trials(Versions):
    """The part of the registry that knows which challengers are tried."""

    def trials(self) -> dict[str, Trial]:
        """Project to the trial that it has now."""
        with self._engine.connect() as db:
            return _trials(db)

    def trial(self, project: str) -> Trial | None:
        """The project's trial, if it has one now."""
        return self.trials().get(project)

    def set_trial(
        self,
        project: str,
        version: int,
        mode: Mode,
        share: float,
        *,
        until: datetime,
        expected: Trial | None,
        who: str,
        why: str,
        run_id: str = "",
    ) -> Trial:
        """Begins a trial, or takes it a step on, if it is still ``expected``; points ``challenger`` to the version.

        Raises:
            Conflict: somebody else began, changed or ended one meanwhile; nothing was changed.
            BadInput: there is no such version.
        """
        with self._alone() as db:
            _check(db, project, expected)
            challenge(db, project, version)
            for table in (TRIALS, TRIAL_RECORDS):
                db.execute(table.delete().where(table.c.project == project))
            values = {"project": project, "version": version, "mode": mode, "share": share}
            db.execute(TRIALS.insert().values(**values, at=now(), until=until))
            told = {"version": version, "mode": mode, "share": share, "until": f"{until:%F %T} UTC", "why": why}
            self._append(db, project, "trial", who, told, run_id)
            return _trials(db, until)[project]

    def end_trial(
        self, trial: Trial, *, who: str, why: str, run_id: str = "", found: Mapping[str, Any] | None = None
    ) -> None:
        """Ends it, if it is still as given, and removes the alias ``challenger``: the champion answers alone.

        Args:
            found: the numbers that decided, for the audit row.

        Raises:
            Conflict: somebody else changed or ended it meanwhile.
        """
        with self._alone() as db:
            _check(db, trial.project, trial)
            drop_trial(db, trial.project)
            told = {"version": trial.version, "mode": trial.mode, "share": trial.share, "why": why}
            self._append(db, trial.project, "end_trial", who, {**told, **(found or {})}, run_id)

    def keep_records(self, batch: Batch) -> None:
        """Keeps them for `take_records`, unless their step is over.

        Raises:
            UpdraftError: nobody has taken those before.
        """
        with self._engine.begin() as db:
            if not _count(db, TRIALS, project=batch.project, at=batch.step):
                return
            if _count(db, TRIAL_RECORDS, project=batch.project, step=batch.step) >= MOST_WAITING:
                fix = f"Whoever tries it may be dead: updraft models withdraw {batch.project} --why '...'"
                raise UpdraftError(f"{batch.project}: nobody takes what is recorded of its trial.", fix)
            db.execute(TRIAL_RECORDS.insert().values(**vars(batch)))

    def take_records(self, trial: Trial) -> list[Batch]:
        """What came of the trial's present step since the last call: each batch is given once, and is gone then.

        To ask for ids above the last one would miss rows: PostgreSQL gives ids before a transaction ends.
        """
        where = equal(TRIAL_RECORDS, {"project": trial.project, "step": trial.at})
        taken = TRIAL_RECORDS.delete().where(*where)
        with self._engine.begin() as db:
            rows = db.execute(taken.returning(*(c for c in TRIAL_RECORDS.c if c.name != "id"))).mappings()
            return [Batch(**row) for row in rows]


def _count(db: sa.Connection, table: sa.TableClause, **values: object) -> int:
    return db.execute(sa.select(sa.func.count()).select_from(table).where(*equal(table, values))).scalar_one()


def _trials(db: sa.Connection, at: datetime | None = None) -> dict[str, Trial]:
    rows = db.execute(sa.select(TRIALS).where(TRIALS.c.until >= (at or now()))).mappings()
    return {row["project"]: Trial(**row) for row in rows}


def _check(db: sa.Connection, project: str, expected: Trial | None) -> None:
    # One that has run out is still the one that its owner takes on or ends.
    found = _trials(db, expected.at if expected else None).get(project)
    if found != expected:
        there = f"version {found.version} is tried ({found.mode}, {found.share:g})" if found else "it was ended"
        fix = f"Wait until that is over, or end it: updraft models withdraw {project} --why '...'"
        raise Conflict(f"{project}: another trial is under way, or this one was changed: {there}.", fix)
