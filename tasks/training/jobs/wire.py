"""Messages between hosts that share a key: nothing is read as a pickle before its sender has proved to hold it.

Both ends send a random number, then each message with a HMAC-SHA256 over both numbers, the direction and the message's
place in the sequence. So nobody without the key can send, change, repeat, drop or reorder one. Messages are not
encrypted, no more than what Horovod's ranks send each other: a network of one's own, or a tunnel, is what hides them.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import pickle
import selectors
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

NONCE = SEAL = 32
MOST_UNPROVED = 64  # bytes of the first message, which is all that a stranger can make this process read
_HEAD = struct.Struct("!Q")
_HELLO = "updraft agent 1"

# A host that is switched off or cut off sends nothing: the kernel asks it after 5 silent seconds, and gives up 6 later.
ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 11_000}


class Waitable(Protocol):
    """What has a descriptor to wait on."""

    def fileno(self) -> int:
        """The descriptor."""


Each = TypeVar("Each", bound=Waitable)


def ready(things: Iterable[Each], seconds: float) -> list[Each]:
    """Those of ``things`` that can be read from, be it their end; waits for the first of them."""
    with selectors.DefaultSelector() as selector:
        for thing in things:
            selector.register(thing, selectors.EVENT_READ, thing)
        return [key.data for key, _ in selector.select(seconds)]


class NoKey(Exception):
    """The other side does not hold the key, or is none of ours."""


class Wire:
    """One authenticated connection; ``send`` may be called from several threads, ``receive`` from one."""

    def __init__(self, link: socket.socket, key: bytes, *, timeout: float = 10.0) -> None:
        """Prove to each other that both hold the key.

        Raises:
            NoKey: the other side does not.
            OSError: it did not answer within ``timeout`` seconds, or closed.
        """
        self._socket, self._key = link, key
        self._sending = threading.Lock()
        link.settimeout(timeout)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for name, value in ALIVE.items():
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        ours = os.urandom(NONCE)
        link.sendall(ours)
        theirs = self._exactly(NONCE)
        if hmac.compare_digest(ours, theirs):
            raise NoKey("it sends back what it is sent")
        self._out, self._in = _Seals(key, ours + theirs), _Seals(key, theirs + ours)
        self.send(_HELLO)
        if self._receive(MOST_UNPROVED) != _HELLO:
            raise NoKey("it speaks another version")
        link.settimeout(None)

    def send(self, value: Any) -> None:
        """Send one picklable value."""
        message = pickle.dumps(value)
        with self._sending:
            self._socket.sendall(_HEAD.pack(len(message)) + self._out.next(message) + message)

    def receive(self) -> Any:
        """The next value; waits for it.

        Raises:
            EOFError: the other side has closed.
            OSError: the other side, or the way to it, is lost.
        """
        return self._receive(1 << 62)

    def fileno(self) -> int:
        """To wait on."""
        return self._socket.fileno()

    def readable(self) -> bool:
        """Whether there is something to receive, be it the end."""
        return bool(ready([self], 0))

    def here(self) -> str:
        """This host's address, as the other end sees it."""
        address: str = self._socket.getsockname()[0]
        return address

    def close(self) -> None:
        """Close it, even if another thread is about to send."""
        with contextlib.suppress(OSError):  # the other side was first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _receive(self, most: int) -> Any:
        (size,) = _HEAD.unpack(self._exactly(_HEAD.size))
        seal = self._exactly(SEAL)
        if size > most:
            raise NoKey("its first message is too long")
        message = self._exactly(size)
        if not hmac.compare_digest(seal, self._in.next(message)):
            raise NoKey("its messages are not sealed with the key")
        return pickle.loads(message)

    def _exactly(self, size: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < size:
            piece = self._socket.recv(min(size - len(pieces), 1 << 20))
            if not piece:
                raise EOFError
            pieces += piece
        return bytes(pieces)


class _Seals:
    """The seals of one direction: over both random numbers, the sender's first, and a count."""

    def __init__(self, key: bytes, numbers: bytes) -> None:
        self._key, self._numbers, self._count = key, numbers, 0

    def next(self, message: bytes) -> bytes:
        self._count += 1
        return hmac.digest(self._key, self._numbers + _HEAD.pack(self._count) + message, "sha256")
