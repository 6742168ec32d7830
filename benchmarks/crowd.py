"""Clients that ask an endpoint again and again while something happens to it, and keep each answer they get."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from benchmarks.endpoint import until

_PATIENCE = 60.0
"""Seconds to an answer."""


@dataclass(frozen=True)
class Question:
    """What is posted."""

    path: str
    body: bytes
    media: str

    @property
    def raw(self) -> bytes:
        """The bytes on the wire."""
        head = f"POST {self.path} HTTP/1.1\r\nhost: x\r\ncontent-type: {self.media}\r\n"
        return f"{head}content-length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        question: which one was asked.
        asked, answered: when, by the monotonic clock.
        retry_after: the header, empty where there is none.
        value: the body.
    """

    question: int
    asked: float
    answered: float
    status: int
    retry_after: str
    value: Mapping[str, Any]


@dataclass
class Crowd:
    """Clients over one connection each, which ask the questions in turn, from the beginning of a block to its end.

    Attributes:
        turns: requests after which a connection is closed and another one opened; 0: it is kept.
        pause: seconds that a client waits that was told to come again.
        lost: connections that broke, with a request under way.
        refused: connections that could not be opened.
        opened: how many could.
    """

    port: int
    questions: Sequence[Question]
    connections: int
    turns: int = 0
    pause: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    lost: list[Exception] = field(default_factory=list)
    refused: list[Exception] = field(default_factory=list)
    opened: int = 0

    def __enter__(self) -> "Crowd":
        self._ended, self._turn = False, count()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crowd")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        self._thread.join()

    def wait_for_more(self) -> None:
        """Until each of them was answered, about."""
        before = len(self.answers)
        until(lambda: len(self.answers) > before + self.connections)

    def per_second(self, since: float, to: float) -> float:
        """How many were answered in that time, by the monotonic clock."""
        return sum(since <= answer.answered < to for answer in list(self.answers)) / (to - since)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self.connections)))

    async def _client(self) -> None:
        while not self._ended:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as error:
                self.refused.append(error)
                await asyncio.sleep(0.01)
                continue
            self.opened += 1
            try:
                for _ in range(self.turns) if self.turns else count():
                    if self._ended:
                        break
                    await self._ask(reader, writer)
            except (OSError, EOFError) as error:
                self.lost.append(error)
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = next(self._turn) % len(self.questions)
        asked = time.monotonic()
        writer.write(self.questions[place].raw)
        async with asyncio.timeout(_PATIENCE):
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
        told = headers.get("retry-after", "")
        self.answers.append(Answer(place, asked, time.monotonic(), int(status.split()[1]), told, json.loads(body)))
        if told and self.pause:
            await asyncio.sleep(self.pause)


class Timeline:
    """Which version was live when: from the move of the alias to it until all workers answer with the next.

    Args:
        version: the first.

    Attributes:
        seconds: each switch's.
    """

    def __init__(self, version: int) -> None:
        self.seconds: list[float] = []
        self._periods = [(version, 0.0, float("inf"))]

    @contextmanager
    def switch(self, version: int) -> Iterator[None]:
        """A block that moves the alias to ``version`` and waits until all workers answer with it."""
        begun = time.monotonic()
        yield
        ended = time.monotonic()
        before, since, _ = self._periods.pop()
        self._periods += [(before, since, ended), (version, begun, float("inf"))]
        self.seconds.append(ended - begun)

    def was_live(self, answer: Answer) -> bool:
        """Whether the version that the answer names was live at a moment between question and answer."""
        version = answer.value["version"]
        return any(v == version and a <= answer.answered and answer.asked <= b for v, a, b in self._periods)
