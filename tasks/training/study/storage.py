"""The database of the studies, which every worker of every host shares: SQLite or PostgreSQL."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa

from tasks.core.errors import BadInput
from tasks.core.settings import settings

_SCHEMA = "optuna"
"""Of PostgreSQL: Optuna and the registry both keep a table ``alembic_version``, so they may not meet."""


def storage_url() -> str:
    """The address of the studies' database, password included: never log it. ``optuna-dashboard`` opens it as it is.

    Raises:
        BadInput: it is neither SQLite nor PostgreSQL.
    """
    own, registry = (url.get_secret_value() for url in (settings().study_database_url, settings().database_url))
    chosen = own or registry
    if chosen.startswith("postgresql"):
        in_schema = sa.make_url(chosen).update_query_dict({"options": f"-csearch_path={_SCHEMA}"})
        return in_schema.render_as_string(hide_password=False)
    if own and not own.startswith("sqlite:///"):
        raise BadInput(
            "UPDRAFT_STUDY_DATABASE_URL is no address of a database that workers can share.",
            "For example postgresql://user:password@host/database or sqlite:////data/optuna.db",
        )
    return own or f"sqlite:///{settings().home / 'optuna.db'}"


@lru_cache(maxsize=1)
def open_storage(url: str) -> optuna.storages.RDBStorage:
    """The storage, its tables made if they are not there; one per process.

    Raises:
        BadInput: it cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_file = sa.make_url(url).get_backend_name() == "sqlite"
    try:
        # Optuna looks for its tables first, then makes them, and two processes may both look.
        with exclusive(url, "tables"):
            if engine := _locks(url):
                with engine.begin() as db:
                    db.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}"))
            kwargs = {"connect_args": {"timeout": 60}} if is_file else {"pool_recycle": 300}
            storage = optuna.storages.RDBStorage(url, engine_kwargs=kwargs)
            if is_file:
                storage.engine.dispose()
                sa.event.listen(storage.engine, "connect", _write_ahead)
            return storage
    except sa.exc.DBAPIError as error:
        where = sa.make_url(url).render_as_string(hide_password=True)
        fix = "Check UPDRAFT_STUDY_DATABASE_URL, that the server runs, and that this user may create a schema."
        raise BadInput(f"The studies' database {where} cannot be opened: {error.orig}.", fix) from None


@contextmanager
def exclusive(url: str, name: str) -> Iterator[None]:
    """One process at a time, of all hosts that share the database; a killed one's lock is freed."""
    engine = _locks(url)
    if engine is None:
        path = Path(f"{sa.make_url(url).database}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    with engine.begin() as db:
        db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"updraft {name}"})
        yield


@lru_cache(maxsize=1)
def _locks(url: str) -> sa.Engine | None:
    """Connections of their own, since Optuna's come and go with its transactions; none for a file."""
    return None if sa.make_url(url).get_backend_name() == "sqlite" else sa.create_engine(url, pool_pre_ping=True)


def _write_ahead(connection: Any, _: Any) -> None:
    """What is committed survives a kill, and no commit waits for the disk."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
