"""The registry: what ran, which artifact stands for each partition, model versions, their aliases, and the audit log.

SQLAlchemy on SQLite (default) or PostgreSQL; the schema is Alembic's (`tasks/core/migrations/`), applied when an
older one is found. Aliases move by compare-and-swap; the audit log is only ever appended to.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tasks.core.artifacts import Manifest
from tasks.core.errors import BadInput, Conflict

HEAD = "0001"
"""The newest Alembic revision; a test holds it to the folder."""

_MIGRATION = 8_273_614
"""PostgreSQL's advisory lock of a migration: any number that nobody else takes."""


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(c, _TYPES.get(c)) for c in columns))


_TYPES: dict[str, Any] = {"at": sa.DateTime(), "details": sa.JSON(), "version": sa.Integer(), "seconds": sa.Float()}
_RUNS = _table("runs", "id", "run_id", "project", "stage", "partition", "manifest", "cache", "because", "seconds", "at")
_PARTITIONS = _table("partitions", "project", "stage", "partition", "manifest", "at")
_VERSIONS = _table("versions", "project", "version", "key", "package", "details", "at")
_ALIASES = _table("aliases", "project", "alias", "version", "at")
_AUDIT = _table("audit", "id", "project", "action", "who", "run_id", "details", "at")


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


class Registry:
    """The registry's database at a SQLAlchemy address; safe for many processes at once."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        try:
            self._migrate()
        except sa.exc.DBAPIError as error:
            where = self._engine.url.render_as_string(hide_password=True)
            fix = "Check UPDRAFT_DATABASE_URL, that the server runs, and that this user may write."
            raise BadInput(f"The registry {where} cannot be opened: {error.orig}.", fix) from None

    def record_run(self, manifest: Manifest, run_id: str) -> None:
        """Notes that a stage was asked for, and makes its artifact the one that stands for its partition."""
        where = {"project": manifest.project, "stage": manifest.stage, "partition": manifest.partition or ""}
        now = _now()
        with self._engine.begin() as db:
            db.execute(
                _RUNS.insert().values(
                    **where,
                    run_id=run_id,
                    manifest=manifest.path,
                    cache=manifest.cache,
                    because=manifest.because,
                    seconds=manifest.seconds,
                    at=now,
                )
            )
            db.execute(_PARTITIONS.delete().where(*_equal(_PARTITIONS, where)))
            db.execute(_PARTITIONS.insert().values(**where, manifest=manifest.path, at=now))

    def runs(self, project: str, run_ids: list[str] | None = None) -> list[Run]:
        """A project's stage executions in order, of all runs or of those named."""
        query = sa.select(*(c for c in _RUNS.c if c.name != "id")).where(_RUNS.c.project == project)
        if run_ids is not None:
            query = query.where(_RUNS.c.run_id.in_(run_ids))
        with self._engine.connect() as db:
            return [Run(**row) for row in db.execute(query.order_by(_RUNS.c.id)).mappings()]

    def partitions(self, project: str, stage: str) -> dict[str, str]:
        """Partition to the path of the manifest that stands for it, by partition."""
        query = sa.select(_PARTITIONS.c.partition, _PARTITIONS.c.manifest)
        query = query.where(_PARTITIONS.c.project == project, _PARTITIONS.c.stage == stage)
        with self._engine.connect() as db:
            return {row.partition: row.manifest for row in db.execute(query.order_by(_PARTITIONS.c.partition))}

    def register(self, project: str, key: str, package: str, details: Mapping[str, Any]) -> Version:
        """The version of the package ``key``: a new one with the next number, or the one it already has."""
        while True:
            known = [v for v in self.versions(project) if v.key == key]
            if known:
                return known[0]
            number = max((v.version for v in self.versions(project)), default=0) + 1
            values = {"project": project, "version": number, "key": key, "package": package, "details": details}
            try:
                with self._engine.begin() as db:
                    db.execute(_VERSIONS.insert().values(**values, at=_now()))
            except sa.exc.IntegrityError:
                continue  # another process took the number, or registered this very package: look again

    def versions(self, project: str) -> list[Version]:
        """A project's versions, oldest first."""
        query = sa.select(_VERSIONS).where(_VERSIONS.c.project == project).order_by(_VERSIONS.c.version)
        with self._engine.connect() as db:
            return [Version(**row) for row in db.execute(query).mappings()]

    def alias(self, project: str, alias: str = "champion") -> Version | None:
        """The version that ``alias`` points to, if any."""
        joined = _VERSIONS.join(
            _ALIASES,
            sa.and_(_ALIASES.c.project == _VERSIONS.c.project, _ALIASES.c.version == _VERSIONS.c.version),
        )
        query = sa.select(_VERSIONS).select_from(joined)
        query = query.where(_ALIASES.c.project == project, _ALIASES.c.alias == alias)
        with self._engine.connect() as db:
            row = db.execute(query).mappings().first()
        return Version(**row) if row else None

    def move_alias(
        self, project: str, alias: str, version: int, *, expected: int | None, who: str, why: str, run_id: str = ""
    ) -> None:
        """Points ``alias`` to ``version`` if it still points to ``expected`` (None: nowhere), and writes the audit row.

        Raises:
            Conflict: somebody else moved the alias meanwhile; nothing was changed.
        """
        where = _equal(_ALIASES, {"project": project, "alias": alias})
        try:
            with self._engine.begin() as db:
                if expected is None:
                    row = {"project": project, "alias": alias, "version": version, "at": _now()}
                    db.execute(_ALIASES.insert().values(**row))
                else:
                    swap = _ALIASES.update().where(*where, _ALIASES.c.version == expected)
                    if db.execute(swap.values(version=version, at=_now())).rowcount != 1:
                        raise Conflict(
                            f"{project}: {alias} is no longer version {expected}; it was moved meanwhile.",
                            "Judge the candidate against the new champion: run the train DAG again.",
                        )
                details = {"alias": alias, "from": expected, "to": version, "why": why}
                db.execute(_audit_row(project, "move_alias", who, run_id, details))
        except sa.exc.IntegrityError:
            fix = "Judge the candidate against that champion: run the train DAG again."
            raise Conflict(f"{project}: {alias} was set by another run meanwhile.", fix) from None

    def audit(self, project: str, action: str, who: str, details: Mapping[str, Any], run_id: str = "") -> None:
        """Appends one decision to the audit log."""
        with self._engine.begin() as db:
            db.execute(_audit_row(project, action, who, run_id, details))

    def audit_log(self, project: str) -> list[Mapping[str, Any]]:
        """A project's decisions, oldest first: who, what, when, why, from which run."""
        query = sa.select(_AUDIT).where(_AUDIT.c.project == project).order_by(_AUDIT.c.id)
        with self._engine.connect() as db:
            return [dict(row) for row in db.execute(query).mappings()]

    def close(self) -> None:
        """Closes the connections (before a fork, or at the end)."""
        self._engine.dispose()

    def _migrate(self) -> None:
        if self._revision() == HEAD:
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with _one_at_a_time(self._engine), self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def _revision(self) -> str | None:
        with self._engine.connect() as db:
            if not sa.inspect(db).has_table("alembic_version"):
                return None
            return db.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        raise BadInput(
            "UPDRAFT_DATABASE_URL is no database address.", "For example sqlite:////data/registry.db"
        ) from None
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _readers_do_not_block_the_writer(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")

    return engine


@contextmanager
def _one_at_a_time(engine: sa.Engine) -> Iterator[None]:
    """Two processes that both find an old schema: the second waits, then finds it migrated."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as db:
            db.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION})
            try:
                yield
            finally:
                db.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION})
        return
    with Path(f"{engine.url.database}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _equal(table: sa.TableClause, values: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in values.items()]


def _audit_row(project: str, action: str, who: str, run_id: str, details: Mapping[str, Any]) -> sa.Insert:
    return _AUDIT.insert().values(
        project=project, action=action, who=who, run_id=run_id, details=dict(details), at=_now()
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # SQLite keeps no zone; every time in the registry is UTC
