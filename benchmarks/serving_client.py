"""A client that asks one endpoint the same thing over so many connections; runs in a process of its own."""

import asyncio
import json
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Load:
    """What to ask, and how much of it.

    Attributes:
        rate: requests per second, whether the earlier ones are answered or not; 0: each connection asks as soon as it
            has its answer.
    """

    port: int
    path: str
    body: str
    media: str
    connections: int
    seconds: float
    rate: float = 0.0


@dataclass(frozen=True)
class Result:
    """What came of it; the percentiles are milliseconds."""

    per_second: float
    p50: float
    p99: float
    failed: int


def ask(load: Load) -> Result:
    """Runs the client in a process and waits for it."""
    import subprocess

    command = [sys.executable, "-m", __spec__.name, json.dumps(asdict(load))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(done.stdout))


class _Connection(asyncio.Protocol):
    """One keep-alive connection: `send` a request, and the callback hears when it was answered."""

    def __init__(self, crowd: "_Crowd") -> None:
        self._crowd, self._received, self._started = crowd, b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport: Any = transport

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio."""
        self._crowd.lost()

    def send(self, due: float) -> None:
        """Asks; the answer's time counts from ``due``."""
        self._started = due
        self._transport.write(self._crowd.request)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._received += data
        head = self._received.find(_END)
        if head < 0:
            return
        place = self._received[:head].lower().index(_LENGTH) + len(_LENGTH)
        length = int(self._received[place : place + 12].split(b"\r")[0])
        if len(self._received) >= head + len(_END) + length:
            status, self._received = self._received[9:12], b""
            self._crowd.answered(self, status, time.perf_counter() - self._started)

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()


class _Crowd:
    """All connections, and what they saw."""

    def __init__(self, load: Load) -> None:
        body = Path(load.body).read_bytes()
        head = f"POST {load.path} HTTP/1.1\r\nHost: x\r\nContent-Type: {load.media}\r\nContent-Length: {len(body)}"
        self.request = head.encode() + _END + body
        self._load, self._open = load, True
        self._free: deque[_Connection] = deque()
        self._seen: list[float] = []
        self._failed = 0
        self._backlog: deque[float] = deque()

    def lost(self) -> None:
        """A connection was closed."""
        self._failed += self._open

    def answered(self, connection: _Connection, status: bytes, seconds: float) -> None:
        """An answer came; the connection takes what is due, or at once the next request where there is no rate."""
        if self._open:
            self._seen.append(seconds)
            self._failed += status != b"200"
        if self._backlog:
            connection.send(self._backlog.popleft())
        elif self._load.rate:
            self._free.append(connection)
        elif self._open:
            connection.send(time.perf_counter())

    async def run(self) -> Result:
        """Warms up for a tenth of the time, then counts."""
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._load.port)
            for _ in range(self._load.connections)
        ]
        connections = [connection for _, connection in made]
        self._free.extend(connections)
        if not self._load.rate:
            for connection in connections:
                connection.send(time.perf_counter())
        await self._pass(self._load.seconds / 10)
        self._seen.clear()
        started = time.perf_counter()
        await self._pass(self._load.seconds)
        self._open = False
        elapsed = time.perf_counter() - started
        for connection in connections:
            connection.close()
        p50, p99 = np.percentile(self._seen, [50, 99]) * 1000 if self._seen else (0.0, 0.0)
        return Result(len(self._seen) / elapsed, float(p50), float(p99), self._failed)

    async def _pass(self, seconds: float) -> None:
        if not self._load.rate:
            await asyncio.sleep(seconds)
            return
        due, end = time.perf_counter(), time.perf_counter() + seconds
        while due < end:
            await asyncio.sleep(due - time.perf_counter())
            if self._free:
                self._free.popleft().send(due)
            else:
                self._backlog.append(due)
            due += 1 / self._load.rate


if __name__ == "__main__":
    uvloop.install()
    print(json.dumps(asdict(asyncio.run(_Crowd(Load(**json.loads(sys.argv[1]))).run()))))
