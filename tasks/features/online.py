"""Where the newest values lie to be looked up: SQLite, Redis or PostgreSQL, by ``UPDRAFT_ONLINE_STORE``.

Feast writes and reads the values. What it cannot do stands here, once per kind of store: take an entity out again, and
remember in the store itself which dates it holds, so that a store that was lost or replaced is noticed. Light: a look
into the cache asks for nothing but the marks.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from feature_repo.names import offline_folder
from tasks.core.artifacts import Manifest
from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.core.stages import Context
from tasks.features.online_redis import RedisOnline
from tasks.features.online_sql import PostgresOnline, SqliteOnline
from tasks.features.online_store import OnlineStore, View

__all__ = ["OFFLINE", "OnlineStore", "View", "open_online", "stands"]

OFFLINE = "offline.parquet"
"""The date's file in the artifact of `materialize`."""


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


def stands(context: Context, manifest: Manifest) -> bool:
    """Whether the date's values are still those of this artifact, in the offline and in the online store."""
    spec, day = context.spec, manifest.partition or ""
    if not context.store.exists(f"{offline_folder(spec)}/date={day}.parquet"):
        return False
    return open_online(spec.name).marks(View.of(spec)).get(day) == manifest.outputs[OFFLINE].digest
