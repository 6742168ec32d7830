"""The online store in Redis."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks.core.errors import BadInput
from tasks.runtime.online.encoding import decode_time, decode_value, entity_key
from tasks.runtime.online.store import Stored, View, driver, naming, shown

_PATIENCE = 5.0
"""Seconds for the server to answer."""


class RedisOnline:
    """A server that machines share: a hash per entity."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._parts = urlsplit(url)

    def feast(self) -> dict[str, Any]:
        """See `OnlineStore`.

        Raises:
            BadInput: Feast cannot be given this password.
        """
        parts = self._parts
        password = unquote(parts.password or "")
        if "," in password:
            raise BadInput("UPDRAFT_ONLINE_STORE: Feast takes no comma in a Redis password.", "Choose another one.")
        options = {
            "db": parts.path.lstrip("/") or "0",
            "username": unquote(parts.username or ""),
            "password": password,
            "ssl": "true" if parts.scheme == "rediss" else "",
        }
        address = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        return {
            "type": "redis",
            "connection_string": ",".join([address, *(f"{name}={value}" for name, value in options.items() if value)]),
            # Ours is the newest value already; Feast would keep a wrong one against its correction of the same time.
            "skip_dedup": True,
        }

    def reaching(self) -> AbstractContextManager[None]:
        """See `OnlineStore`."""
        return naming(shown(self._parts), driver("redis").RedisError)

    def read(self, view: View, entities: Sequence[str]) -> list[Stored | None]:
        """See `OnlineStore`."""
        names = [_time_of(view), *_hashed(view)]
        with self.reaching(), _client(self._url).pipeline(transaction=False) as pipe:
            for entity in entities:
                pipe.hmget(_key(view, entity), names)
            return [_stored(view, *found) for found in pipe.execute()]

    def marks(self, view: View) -> dict[str, str]:
        """See `OnlineStore`."""
        with self.reaching():
            found = _client(self._url).hgetall(_dates(view))
        return {day.decode(): digest.decode() for day, digest in found.items()}

    def mark(self, view: View, day: str, digest: str | None) -> None:
        """See `OnlineStore`."""
        with self.reaching():
            if digest is None:
                _client(self._url).hdel(_dates(view), day)
            else:
                _client(self._url).hset(_dates(view), day, digest)

    def forget(self, view: View, entities: Sequence[str]) -> None:
        """See `OnlineStore`."""
        # Other views of the same entity stand beside these fields.
        names = [_time_of(view), *_hashed(view)]
        with self.reaching(), _client(self._url).pipeline(transaction=False) as pipe:
            for entity in entities:
                pipe.hdel(_key(view, entity), *names)
            pipe.execute()


@lru_cache
def _client(url: str) -> Any:
    """The process's connections to a server; one that the server has closed is opened again."""
    once_more = driver("redis.retry").Retry(driver("redis.backoff").NoBackoff(), 1)
    patience = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
    return driver("redis").Redis.from_url(url, retry=once_more, **patience)


def _key(view: View, entity: str) -> bytes:
    return entity_key(entity) + view.project.encode()


def _time_of(view: View) -> str:
    return f"_ts:{view.name}"


def _hashed(view: View) -> list[bytes]:
    """Feast's own field names of the groups."""
    mmh3 = driver("mmh3")
    return [mmh3.hash(f"{view.name}:{name}", signed=False).to_bytes(4, "little") for name in view.features]


def _dates(view: View) -> str:
    return f"updraft:{view.table}:dates"


def _stored(view: View, time: bytes | None, *values: bytes | None) -> Stored | None:
    if time is None:
        return None
    decoded = (decode_value(value) if value else None for value in values)
    return Stored(decode_time(time), dict(zip(view.features, decoded, strict=True)))
