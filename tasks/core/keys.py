"""API keys of the endpoint: how one is made, and what of it is kept."""

import hashlib
import secrets

SCOPES = ("predict", "feedback", "admin")
"""What a key may be for: asking (predict, explain, infer), telling true labels, everything that changes something."""

ALL = "*"
"""Stands where a key is for every project."""

_PREFIX = "updraft_"
"""So that a scanner for leaked secrets knows one when it sees it."""


def new_key() -> str:
    """A key that nobody has: 32 random bytes behind the prefix. It is shown once and kept nowhere."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(key: bytes) -> str:
    """What is kept of a key: its SHA-256, 64 hexadecimal digits.

    A slow hash with a salt protects passwords, which can be guessed. Among 2**256 keys nobody guesses one, so a plain
    hash is as safe, and quick enough for every request.
    """
    return hashlib.sha256(key).hexdigest()
