"""The API keys of a registry, at hand for every request."""

import hmac
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from serving.errors import Problem
from tasks.core.keys import digest_of

if TYPE_CHECKING:
    # Brings SQLAlchemy, which the service inside a Bento does without.
    from tasks.core.registry import ApiKey

log = logging.getLogger("updraft.serving")

_BUCKET = 8
"""Digits of a digest that keys are found by; the whole of it is compared in constant time."""


class KeyRing:
    """The keys as they change, looked up again and again by a thread, so that no request waits for the registry.

    A key that is made or revoked counts within ``seconds``. While the keys cannot be read, those last seen count.

    Args:
        read: gives all keys there are, those that ended included.
    """

    def __init__(self, read: "Callable[[], Sequence[ApiKey]]", seconds: float = 2.0) -> None:
        self._read, self._seconds = read, seconds
        self._found: Mapping[str, Sequence[ApiKey]] | None = None
        self._blind = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keys", daemon=True)

    def start(self) -> None:
        """Reads the present keys, then goes on watching."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

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

    def refresh(self) -> None:
        """Looks once; what fails is logged and tried again at the next look."""
        found: defaultdict[str, list[ApiKey]] = defaultdict(list)
        try:
            for key in self._read():
                found[key.digest[:_BUCKET]].append(key)
        except Exception as error:
            if not self._blind:
                log.warning("The keys cannot be read; those seen last count. %s", error)
            self._blind = True
        else:
            self._found, self._blind = dict(found), False

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.refresh()
