"""Sealed messages between two ends: what passes, and that a stranger's bytes never reach pickle."""

import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tasks.training.jobs.wire import NONCE, SEAL, NoKey, Wire, ready

KEY = b"a key that only the tests know"
Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two connected sockets."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = stack.enter_context(socket.create_connection(server.getsockname()))
        far = stack.enter_context(server.accept()[0])
        yield near, far


def beside(work: Callable[[], Any]) -> Callable[[], Any]:
    """Runs it in a thread; what comes back waits for its result, or raises what it raised."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Any:
        thread.join(30)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    return result


def wires(ends: Ends) -> tuple[Wire, Wire]:
    far = beside(lambda: Wire(ends[1], KEY))
    return Wire(ends[0], KEY), far()


def test_values_pass_in_both_directions_whatever_their_size(ends: Ends) -> None:
    near, far = wires(ends)
    large = bytes(range(256)) * 20_000
    arrived = beside(far.receive)
    near.send({"large": large})
    assert arrived() == {"large": large}
    far.send(("line", "hello"))
    assert near.receive() == ("line", "hello")
    assert not near.readable()


def test_the_end_is_an_end(ends: Ends) -> None:
    near, far = wires(ends)
    near.close()
    assert ready([far], 10) == [far]
    with pytest.raises(EOFError):
        far.receive()


def test_another_key_is_refused_on_both_sides(ends: Ends) -> None:
    far = beside(lambda: Wire(ends[1], b"another key"))
    with pytest.raises(NoKey):
        Wire(ends[0], KEY)
    with pytest.raises(NoKey):
        far()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def framed(message: bytes, seal: bytes = bytes(SEAL)) -> bytes:
    return len(message).to_bytes(8, "big") + seal + message


def test_a_stranger_s_pickle_is_never_opened(ends: Ends, tmp_path: Path) -> None:
    bomb = framed(pickle.dumps(Bomb(tmp_path / "opened"), protocol=4))
    ends[1].sendall(bytes(range(NONCE)) + bomb)
    with pytest.raises(NoKey):
        Wire(ends[0], KEY)
    assert not (tmp_path / "opened").exists()


def test_a_stranger_cannot_make_it_read_without_end(ends: Ends) -> None:
    ends[1].sendall(bytes(range(NONCE)) + (1 << 40).to_bytes(8, "big") + bytes(SEAL))
    with pytest.raises(NoKey, match="too long"):
        Wire(ends[0], KEY)


def test_one_who_echoes_proves_nothing(ends: Ends) -> None:
    def echo() -> None:
        while piece := ends[1].recv(4096):
            ends[1].sendall(piece)

    threading.Thread(target=echo, daemon=True).start()
    with pytest.raises(NoKey, match="sends back"):
        Wire(ends[0], KEY)


@pytest.mark.parametrize("fault", ["changed", "repeated"])
def test_a_message_that_was_tampered_with_on_the_way_is_refused(ends: Ends, fault: str) -> None:
    """A relay in the middle: it passes everything on, but for what it does to the one message."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        relayed, _ = server.accept()

        def back() -> None:
            while piece := ends[0].recv(4096):
                relayed.sendall(piece)

        threading.Thread(target=back, daemon=True).start()
        far = beside(lambda: Wire(ends[1], KEY))
        near = beside(lambda: Wire(client, KEY))
        hello = NONCE + 8 + SEAL + len(pickle.dumps("updraft agent 1"))
        ends[0].sendall(_exactly(relayed, hello))
        sender, receiver = near(), far()
        sender.send("stop")
        message = _exactly(relayed, 8 + SEAL + len(pickle.dumps("stop")))
        if fault == "changed":
            ends[0].sendall(message[:-3] + b"X" + message[-2:])
        else:
            ends[0].sendall(message)
            assert receiver.receive() == "stop"
            ends[0].sendall(message)
        with pytest.raises(NoKey, match="not sealed"):
            receiver.receive()
        client.close()
        relayed.close()


def _exactly(link: socket.socket, size: int) -> bytes:
    return link.recv(size, socket.MSG_WAITALL)
