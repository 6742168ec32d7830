"""The online store in Redis."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks.core.errors import BadInput
from tasks.features.online_store import View, naming, shown


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

    def identity(self) -> str:
        """See `OnlineStore`."""
        return self._url

    def reaching(self) -> AbstractContextManager[None]:
        """See `OnlineStore`."""
        import redis

        return naming(shown(self._parts), redis.RedisError)

    def marks(self, view: View) -> dict[str, str]:
        """See `OnlineStore`."""
        with self._client() as client:
            return {day.decode(): digest.decode() for day, digest in client.hgetall(self._dates(view)).items()}

    def mark(self, view: View, day: str, digest: str | None) -> None:
        """See `OnlineStore`."""
        with self._client() as client:
            if digest is None:
                client.hdel(self._dates(view), day)
            else:
                client.hset(self._dates(view), day, digest)

    def forget(self, view: View, keys: Sequence[bytes]) -> None:
        """See `OnlineStore`."""
        import mmh3

        # Feast's own field names; other views of the same entity stand beside them.
        hashed = [mmh3.hash(f"{view.name}:{name}", signed=False).to_bytes(4, "little") for name in view.features]
        with self._client() as client, client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hdel(key + view.project.encode(), f"_ts:{view.name}", *hashed)
            pipe.execute()

    @staticmethod
    def _dates(view: View) -> str:
        return f"updraft:{view.table}:dates"

    @contextmanager
    def _client(self) -> Iterator[Any]:
        import redis

        with self.reaching(), closing(redis.Redis.from_url(self._url)) as client:
            yield client
