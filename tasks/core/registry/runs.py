"""What ran, and which artifact stands for each partition."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from tasks.core.artifacts import Manifest
from tasks.core.registry.database import Database
from tasks.core.registry.tables import PARTITIONS, RUNS, equal, now


@dataclass(frozen=True)
class Run:
    """One execution of a stage: a HIT or a MISS, and why."""

    run_id: str
    project: str
    stage: str
    partition: str
    manifest: str
    cache: str
    because: str
    seconds: float
    at: datetime


class Runs(Database):
    """The part of the registry that stages write when they ran."""

    def record_run(self, manifest: Manifest, run_id: str) -> None:
        """Notes that a stage was asked for, and makes its artifact the one that stands for its partition."""
        where = {"project": manifest.project, "stage": manifest.stage, "partition": manifest.partition or ""}
        at = now()
        with self._engine.begin() as db:
            db.execute(
                RUNS.insert().values(
                    **where,
                    run_id=run_id,
                    manifest=manifest.path,
                    cache=manifest.cache,
                    because=manifest.because,
                    seconds=manifest.seconds,
                    at=at,
                )
            )
            db.execute(PARTITIONS.delete().where(*equal(PARTITIONS, where)))
            db.execute(PARTITIONS.insert().values(**where, manifest=manifest.path, at=at))

    def runs(self, project: str, run_ids: list[str] | None = None) -> list[Run]:
        """A project's stage executions in order, of all runs or of those named."""
        query = sa.select(*(c for c in RUNS.c if c.name != "id")).where(RUNS.c.project == project)
        if run_ids is not None:
            query = query.where(RUNS.c.run_id.in_(run_ids))
        with self._engine.connect() as db:
            return [Run(**row) for row in db.execute(query.order_by(RUNS.c.id)).mappings()]

    def partitions(self, project: str, stage: str) -> dict[str, str]:
        """Partition to the path of the manifest that stands for it, by partition."""
        query = sa.select(PARTITIONS.c.partition, PARTITIONS.c.manifest)
        query = query.where(PARTITIONS.c.project == project, PARTITIONS.c.stage == stage)
        with self._engine.connect() as db:
            return {row.partition: row.manifest for row in db.execute(query.order_by(PARTITIONS.c.partition))}
