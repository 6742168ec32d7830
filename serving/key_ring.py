"""The API keys of a registry, at hand for every request."""

import hmac
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from serving.errors import Problem
from serving.watching import Watcher
from tasks.core.keys import digest_of

if TYPE_CHECKING:
    # Brings SQLAlchemy, which the service inside a Bento does without.
    from tasks.core.registry import ApiKey

_BUCKET = 8
"""Digits of a digest that keys are found by; the whole of it is compared in constant time."""


class KeyRing(Watcher):
    """The keys as they change.

    A key that is made or revoked counts within ``seconds``. While the keys cannot be read, those last seen count.

    Args:
        read: gives all keys there are, those that ended included.
    """

    def __init__(self, read: "Callable[[], Sequence[ApiKey]]", seconds: float = 2.0) -> None:
        super().__init__("keys", seconds, "The keys cannot be read; those seen last count.")
        self._read = read
        self._found: Mapping[str, Sequence[ApiKey]] | None = None

    @property
    def exist(self) -> bool:
        """Whether a key was ever made; revoking the last one opens nothing. True while nobody knows."""
        return self._found is None or bool(self._found)

    def find(self, presented: bytes) -> "ApiKey | None":
        """The key that was presented, whether it still counts or not; None: there is no such key.

        Raises:
            Problem: 503, the keys could not be read yet.
        """
        if self._found is None:
            raise Problem(503, "keys_unavailable", "The keys cannot be read yet. Try again.", retry_after=2)
        digest = digest_of(presented)
        alike = self._found.get(digest[:_BUCKET], ())
        return next((key for key in alike if hmac.compare_digest(key.digest, digest)), None)

    def look(self) -> None:
        """See `Watcher`."""
        found: defaultdict[str, list[ApiKey]] = defaultdict(list)
        for key in self._read():
            found[key.digest[:_BUCKET]].append(key)
        self._found = dict(found)
