"""The registry's database: SQLite or PostgreSQL, brought to the newest schema when it is opened."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tasks.core.errors import BadInput

HEAD = "0004"
"""The newest Alembic revision; a test holds it to the folder."""

_MIGRATIONS = Path(__file__).parents[1] / "migrations"

_MIGRATION = 8_273_614
"""PostgreSQL's advisory lock of a migration: any number that nobody else takes."""


class Database:
    """A connection pool to the database at a SQLAlchemy address; safe for many processes at once.

    Raises:
        BadInput: it cannot be opened, or is newer than this code.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        try:
            self._migrate()
        except sa.exc.DBAPIError as error:
            fix = "Check UPDRAFT_DATABASE_URL, that the server runs, and that this user may write."
            raise BadInput(f"The registry {self._where} cannot be opened: {error.orig}.", fix) from None

    def close(self) -> None:
        """Closes the connections (before a fork, or at the end)."""
        self._engine.dispose()

    @property
    def _where(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        """A transaction that no other one of this kind overlaps: what it reads is still so when it writes."""
        with self._engine.begin() as db:
            if self._engine.dialect.name == "sqlite":
                db.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                db.exec_driver_sql("LOCK TABLE audit IN EXCLUSIVE MODE")
            yield db

    def _migrate(self) -> None:
        revision = self._revision()
        if revision == HEAD:
            return
        if revision is not None and revision > HEAD:
            fix = "Use the version of Updraft that wrote it, or a newer one."
            raise BadInput(f"The registry {self._where} has schema {revision}; this code knows {HEAD}.", fix)
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with _one_at_a_time(self._engine), self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # or a killed migration would leave half a schema
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
