"""What each worker of the endpoints answers with, on whatever machine it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tasks.core.registry.database import Database
from tasks.core.registry.tables import WORKERS

FRESH_SECONDS = 15
"""A worker that has said nothing for so long is gone."""

# By the database's clock: those of the machines may differ.
_NOW = sa.cast(sa.extract("epoch", sa.func.now()), sa.BigInteger)
_FRESH = WORKERS.c.seen >= _NOW - FRESH_SECONDS


@dataclass(frozen=True)
class Worker:
    """A process that answers requests.

    Attributes:
        address: of its endpoint.
        versions: project to the version that it answers with.
        challengers: project to the trial that it takes part in: version, mode and share.
    """

    address: str
    versions: Mapping[str, int | str]
    challengers: Mapping[str, Mapping[str, Any]]


class Workers(Database):
    """The part of the registry that knows who answers."""

    def tell_worker(self, name: str, worker: Worker) -> None:
        """Says that the worker ``name`` is there, and with what; rows of those that are gone are removed.

        Args:
            name: its own among all, up to 32 characters.
        """
        with self._engine.begin() as db:
            db.execute(WORKERS.delete().where(sa.or_(WORKERS.c.worker == name, sa.not_(_FRESH))))
            db.execute(WORKERS.insert().values(worker=name, seen=_NOW, **vars(worker)))

    def forget_worker(self, name: str) -> None:
        """It has ended."""
        with self._engine.begin() as db:
            db.execute(WORKERS.delete().where(WORKERS.c.worker == name))

    def workers(self) -> list[Worker]:
        """Those that are there."""
        query = sa.select(WORKERS.c.address, WORKERS.c.versions, WORKERS.c.challengers).where(_FRESH)
        with self._engine.connect() as db:
            return [Worker(**row) for row in db.execute(query).mappings()]
