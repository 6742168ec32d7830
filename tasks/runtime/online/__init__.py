"""Where the newest values lie to be looked up: SQLite, Redis or PostgreSQL, by ``UPDRAFT_ONLINE_STORE``.

Feast writes the values. What it cannot do stands here, once per kind of store: look an entity up without importing
Feast (4.7 s, and half a gigabyte that no endpoint needs), take an entity out again, and remember in the store itself
which dates it holds, so that a store that was lost or replaced is noticed.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.runtime.online.redis_store import RedisOnline
from tasks.runtime.online.sql_stores import PostgresOnline, SqliteOnline
from tasks.runtime.online.store import OnlineStore

__all__ = ["OnlineStore", "open_online"]


def open_online(project: str) -> OnlineStore:
    """The store that the settings name.

    Raises:
        BadInput: the setting's address is of no kind that is supported.
    """
    url = settings().online_store.get_secret_value()
    if not url:
        return SqliteOnline(settings().home / "feast" / project / "online.db")
    kinds: dict[str, Callable[[str], OnlineStore]] = {
        **dict.fromkeys(("redis", "rediss"), RedisOnline),
        **dict.fromkeys(("postgresql", "postgres"), PostgresOnline),
    }
    scheme = urlsplit(url).scheme
    if scheme not in kinds:
        message = f"UPDRAFT_ONLINE_STORE: {scheme or 'an address without a scheme'} is not supported."
        raise BadInput(message, "Give redis://..., rediss://... or postgresql://..., or unset it for SQLite.")
    return kinds[scheme](url)
