"""Who may ask: API keys, checked before a route runs.

What only reads needs no key: descriptions, documentation, health, metrics. ``POST .../predict``, ``explain`` and
``infer`` need the scope ``predict``, ``POST .../feedback`` the scope ``feedback``, anything else ``admin``; each of
them for the project in the path.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import Problem, respond
from serving.key_ring import KeyRing
from serving.limits import RateLimits
from tasks.core.keys import ALL

if TYPE_CHECKING:
    from tasks.core.registry import ApiKey

Mode = Literal["auto", "open", "required"]

_READS = {"GET", "HEAD", "OPTIONS"}
_ASKS = {"predict", "explain", "infer"}

_HOW = "Send it as Authorization: Bearer <key> or as X-API-Key. Make one: updraft keys create."


@dataclass(frozen=True)
class Caller:
    """Whose key a request came with: ``scope["state"]["caller"]``."""

    name: str
    project: str
    scopes: tuple[str, ...]


class Access:
    """Lets a request through if its key allows what it wants, or none is needed.

    Args:
        mode: ``open``: no key is ever needed; ``required``: always; ``auto``: as soon as one was made, and wherever the
            endpoint can be reached from another machine.
        host: the address that the installation listens on.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, limits: RateLimits, mode: Mode, host: str) -> None:
        self._app, self._ring, self._limits, self._mode = app, ring, limits, mode
        self._local = _is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and scope["method"] not in _READS and self._is_closed(scope):
            try:
                scope["state"]["caller"] = self._check(scope)
            except Problem as problem:
                return await respond(scope, problem)(scope, receive, send)
        await self._app(scope, receive, send)

    def _is_closed(self, scope: Scope) -> bool:
        if self._mode != "auto":
            return self._mode == "required"
        # Whatever the settings say: a server started by hand may listen elsewhere. No address: a Unix socket.
        came_to = scope.get("server")
        return self._ring.exist or not self._local or not (came_to is None or _is_loopback(came_to[0]))

    def _check(self, scope: Scope) -> Caller:
        key = self._key(_presented(scope))
        project, wanted = needed(scope["path"])
        if key.project not in (ALL, project):
            raise Problem(403, "wrong_project", f"Key {key.name} is for {key.project}, not for {project}.")
        if wanted not in key.scopes:
            may = ", ".join(key.scopes)
            raise Problem(403, "wrong_scope", f"This needs the scope {wanted}; key {key.name} has {may}.")
        if key.per_minute is not None:
            wait = self._limits.take(key.id, key.per_minute)
            if wait:
                said = f"Key {key.name} may make {key.per_minute} requests a minute. Try again in {wait} s."
                raise Problem(429, "too_many_requests", said, retry_after=wait)
        return Caller(key.name, key.project, key.scopes)

    def _key(self, presented: bytes | None) -> "ApiKey":
        if not presented:
            raise Problem(401, "key_wanted", f"This endpoint wants an API key. {_HOW}")
        key, now = self._ring.find(presented), datetime.now(UTC).replace(tzinfo=None)
        if key is None:
            raise Problem(401, "unknown_key", f"This key is not known here. {_HOW}")
        if key.revoked_at is not None:
            raise Problem(401, "revoked_key", f"Key {key.name} was revoked. Make a new one: updraft keys create.")
        if key.expires_at is not None and key.expires_at <= now:
            raise Problem(401, "expired_key", f"Key {key.name} has expired. Make a new one: updraft keys create.")
        return key


def needed(path: str) -> tuple[str, str]:
    """The project and the scope that a request which is no mere reading needs."""
    parts = path.strip("/").split("/")
    action = parts[-1]
    wanted = "predict" if action in _ASKS else "feedback" if action == "feedback" else "admin"
    # /v1/{project}/..., /v2/models/{project}/...
    place = 2 if parts[0] == "v2" else 1
    return (parts[place] if len(parts) > place else ALL), wanted


def _presented(scope: Scope) -> bytes | None:
    headers = dict(scope["headers"])
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key")


@lru_cache(maxsize=64)
def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
