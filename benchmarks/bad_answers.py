"""What a server makes of `benchmarks.bad_requests`, each sent on a connection of its own."""

import json
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.bad_requests import Bad
from feature_repo.names import view_name
from tasks.core.keys import ALL, SCOPES, digest_of, new_key
from tasks.core.registry import Registry
from tasks.core.spec import Project
from tasks.runtime.online import open_online
from tasks.runtime.online.store import View

_PATIENCE = 45.0
"""Seconds: longer than the server gives a body."""
_SILENT = -1
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """What came back: the status, 0 where the server hung up, -1 where it did nothing; and the body."""

    request: Bad
    status: int
    body: bytes


def make_ready(registry: Registry, projects: Iterable[Project]) -> str:
    """Materializes a day without entities for each, and gives a key that may do everything."""
    for spec in projects:
        # None is known, and that is no failure of the store.
        online = open_online(spec.name)
        online.feast()
        view = View(spec.name, view_name(spec), tuple(feature.group for feature in spec.features))
        online.mark(view, "2026-01-01", "nothing")
    key = new_key()
    registry.add_key(name="all", project=ALL, scopes=SCOPES, digest=digest_of(key.encode()), who="test")
    return key


def send_all(port: int, requests: Iterator[Bad], connections: int = 4) -> list[Answer]:
    """Sends each on a connection of its own."""
    with ThreadPoolExecutor(connections) as pool:
        return list(pool.map(lambda request: _send(port, request), requests))


def faults(answers: Sequence[Answer]) -> list[str]:
    """What no server should answer: a 5xx, an error of another shape, or a look inside."""
    return [said for answer in answers if (said := _fault(answer))]


def _fault(answer: Answer) -> str:
    told = f"{answer.request.kind}: {answer.request.raw[:300]!r} was answered {answer.status} {answer.body[:300]!r}"
    if answer.status == _SILENT or answer.status >= 500 or b"Traceback" in answer.body:
        return told
    if answer.status < 400 or not answer.body:  # an answer to HEAD has none
        return ""
    try:
        error = json.loads(answer.body)["error"]
    except (ValueError, KeyError, TypeError):
        return told
    fits = isinstance(error, str) or set(error) == {"code", "message", "request_id"}
    return "" if fits else told


def _send(port: int, bad: Bad) -> Answer:
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        try:
            connection.sendall(bad.raw)
            while not bad.leaves and (chunk := connection.recv(65536)):
                received += chunk
        except ConnectionError:  # the server had heard enough
            pass
        except TimeoutError:
            return Answer(bad, _SILENT, received)
    head, _, body = received.removeprefix(_GO_ON).partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else 0
    return Answer(bad, status, body)
