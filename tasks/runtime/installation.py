"""Which installation a running endpoint belongs to."""

from tasks.core.artifacts import digest_bytes
from tasks.core.settings import settings


def installation() -> str:
    """A short name of the store: one of two checkouts that use the same port must not take the other's endpoint for
    its own.
    """
    return digest_bytes(settings().store_uri.encode())[:12]
