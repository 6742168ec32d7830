"""The registry: what ran, what stands for each partition, model versions, aliases and trials, who answers, the audit
log, keys.

SQLAlchemy on SQLite (default) or PostgreSQL; the schema is Alembic's (`tasks/core/migrations/`), applied when an
older one is found. Versions and audit rows never change; aliases move by compare-and-swap.
"""

from tasks.core.registry.database import HEAD
from tasks.core.registry.keys import ApiKey, Keys
from tasks.core.registry.runs import Run, Runs
from tasks.core.registry.trials import Batch, Mode, Trial, Trials
from tasks.core.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, Version
from tasks.core.registry.workers import Worker, Workers

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "HEAD",
    "PREVIOUS",
    "ApiKey",
    "Batch",
    "Mode",
    "Registry",
    "Run",
    "Trial",
    "Version",
    "Worker",
]


class Registry(Runs, Trials, Workers, Keys):
    """The registry at a SQLAlchemy address; safe for many processes at once."""
