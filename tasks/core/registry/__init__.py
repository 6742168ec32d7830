"""The registry: what ran, which artifact stands for each partition, model versions, their aliases, the audit log, keys.

SQLAlchemy on SQLite (default) or PostgreSQL; the schema is Alembic's (`tasks/core/migrations/`), applied when an
older one is found. Versions and audit rows never change; aliases move by compare-and-swap.
"""

from tasks.core.registry.database import HEAD
from tasks.core.registry.keys import ApiKey, Keys
from tasks.core.registry.runs import Run, Runs
from tasks.core.registry.versions import CHAMPION, PREVIOUS, Version, Versions

__all__ = ["CHAMPION", "HEAD", "PREVIOUS", "ApiKey", "Registry", "Run", "Version"]


class Registry(Runs, Versions, Keys):
    """The registry at a SQLAlchemy address; safe for many processes at once."""
