"""``updraft agent``: forks this host's ranks for the launchers of other hosts that hold the same key."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from tasks.core.code import code_version
from tasks.core.errors import BadInput, Preempted
from tasks.core.settings import Settings
from tasks.training.jobs import forked, zygote
from tasks.training.jobs.failures import AGAIN
from tasks.training.jobs.hosts import interface_of
from tasks.training.jobs.wire import NoKey, Wire

SHORTEST_KEY = 16


class Agent:
    """Listens, and relays each connection's job to a zygote: a job ends when its connection does."""

    def __init__(self, settings: Settings, address: str, log: Callable[[str], None]) -> None:
        """Bind.

        Raises:
            BadInput: there is no key, or the address is taken or not this host's.
        """
        self._settings, self._log = settings, log
        self._key = settings.agent_key.get_secret_value().encode()
        if len(self._key) < SHORTEST_KEY:
            raise BadInput(
                f"UPDRAFT_AGENT_KEY has {len(self._key)} characters: whoever guesses it runs code here",
                f"set it to the same {SHORTEST_KEY} or more on all hosts (openssl rand -hex 32)",
            )
        try:
            self._listener = socket.create_server((address, settings.agent_port))
        except OSError as error:
            where = f"{address}:{settings.agent_port}"
            raise BadInput(f"cannot listen on {where}: {error.strerror}", "see UPDRAFT_AGENT_PORT") from None
        self._leaving = threading.Event()
        self._jobs: set[threading.Thread] = set()

    def serve(self) -> None:
        """Serve until SIGTERM or Ctrl-C; jobs that run then are ended and told that the host goes away."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._leave())
        zygote.warm_up()
        self._log(f"agent: listening on {':'.join(map(str, self._listener.getsockname()))}")
        with self._listener:
            while not self._leaving.is_set():
                with contextlib.suppress(OSError):  # `_leave` shuts it down
                    link, (peer, _) = self._listener.accept()
                    thread = threading.Thread(target=self._answer, args=(link, peer))
                    self._jobs = {job for job in self._jobs if job.is_alive()} | {thread}
                    thread.start()
        for thread in self._jobs:
            thread.join()

    def _leave(self) -> None:
        self._leaving.set()
        with contextlib.suppress(OSError):  # told twice
            self._listener.shutdown(socket.SHUT_RDWR)

    def _answer(self, link: socket.socket, peer: str) -> None:
        """One connection, one job."""
        try:
            wire = Wire(link, self._key)
        except (NoKey, EOFError, OSError) as error:
            self._log(f"agent: refused {peer}: {error or 'it closed'}")
            link.close()
            return
        self._log(f"agent: a job from {peer} begins")
        try:
            wire.send(self._run(wire, *wire.receive()))
        except (NoKey, EOFError, OSError):  # the launcher has gone: nobody is left to tell
            pass
        finally:
            wire.close()
            self._log(f"agent: a job from {peer} has ended")
        if not self._leaving.is_set():
            zygote.warm_up()

    def _run(self, wire: Wire, code: str, job: forked.Job, place: forked.Place) -> zygote.Message:
        """Run a host's part of a job; whatever the launcher says meanwhile means that it is to end."""
        module, host = job.target.partition(":")[0], place.slots[0].hostname
        try:
            if code_version(module) != code:
                fix = "bring all hosts to the same version of Updraft, then restart `updraft agent` there"
                raise BadInput(f"{host} has another version of {module} than the launcher", fix)
            interface = self._settings.interface or interface_of(wire.here())
            results = zygote.run(
                job,
                lambda line: wire.send(("line", line)),
                lambda: self._leaving.is_set() or wire.readable(),
                dataclasses.replace(place, interface=interface),
                lambda beats: wire.send(("beats", beats)),
            )
        except Exception as error:
            gone = Preempted(f"host {host} goes away: its agent was told to end", AGAIN)
            return "error", gone if self._leaving.is_set() else error
        return "results", results


def serve(settings: Settings, address: str, log: Callable[[str], Any] = print) -> None:
    """Run an agent until it is told to end; `Agent` says what it raises."""
    Agent(settings, address, log).serve()
