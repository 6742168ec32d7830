"""How connections come to a worker."""

import socket

import pytest

from serving.protocol import accept_when_asked


@pytest.mark.skipif(not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="this system hands over connections at once")
def test_a_connection_that_asks_comes_before_one_that_does_not_yet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as silent, socket.socket() as asking:
        accept_when_asked()
        server.settimeout(30)
        for client in (silent, asking):
            client.connect(server.getsockname())
        asking.sendall(b"GET / HTTP/1.1\r\n\r\n")
        first, address = server.accept()
        first.close()
        assert address == asking.getsockname()
        second, address = server.accept()
        second.close()
        assert address == silent.getsockname(), "it is handed over in the end"
