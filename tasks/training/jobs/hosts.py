"""One Horovod job over several hosts: each runs ``updraft agent``, which forks that host's ranks.

This process keeps the rendezvous, hears all ranks, watches them, and ends them all together. A zygote runs a host's
part of the job: one of this process for ranks on ``localhost``, for those of another host one of its agent, behind a
`Wire`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pickle
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import psutil
from horovod.runner.common.util.hosts import HostInfo, SlotInfo, get_host_assignments

from tasks.core.code import code_version
from tasks.core.errors import BadInput, HostLost, PeerLost, RankFailed
from tasks.core.settings import Settings
from tasks.training.jobs import forked, zygote
from tasks.training.jobs.failures import AGAIN
from tasks.training.jobs.watchdog import Watchdog
from tasks.training.jobs.wire import NoKey, Wire, ready
from tasks.training.jobs.zygote import Message, Zygote

LOCALHOST = "localhost"
TICK = 0.05  # seconds between two questions whether the job is to be stopped
SETTLE = 2.0  # seconds in which a host may still report the cause of what another one has reported
CONNECT = 10.0  # seconds that an agent has to answer


class Remote:
    """A host's agent, seen from the launcher: what a `Zygote` is for this host."""

    def __init__(self, host: str, settings: Settings) -> None:
        """Connect.

        Raises:
            HostLost: no agent answers there.
            BadInput: it has another key.
        """
        self._host, where = host, (host, settings.agent_port)
        try:
            link = socket.create_connection(where, CONNECT)
            self._wire = Wire(link, settings.agent_key.get_secret_value().encode(), timeout=CONNECT)
        except OSError as error:
            reason = error.strerror or error
            fix = f"start `updraft agent` on {host}, and let this host reach that port; or take it out of UPDRAFT_HOSTS"
            raise HostLost(f"host {host} does not answer on port {settings.agent_port}: {reason}", fix) from None
        except (NoKey, EOFError) as error:
            fix = "give UPDRAFT_AGENT_KEY the same value on all hosts"
            raise BadInput(f"the agent on {host} and this process do not share a key ({error})", fix) from None

    def here(self) -> str:
        """This process's address, as that host reaches it."""
        return self._wire.here()

    def start(self, job: forked.Job, place: forked.Place) -> None:
        """Begin its part of the job."""
        try:
            self._wire.send((code_version(job.target.partition(":")[0]), job, place))
        except OSError:
            raise self._lost() from None

    def receive(self) -> Message:
        """What it says next; waits for it."""
        try:
            message: Message = self._wire.receive()
        except (EOFError, OSError, NoKey):
            raise self._lost() from None
        return message

    def fileno(self) -> int:
        """To wait on."""
        return self._wire.fileno()

    def release(self) -> None:
        """It has ended its part."""
        self._wire.close()

    def stop(self) -> None:
        """Ask it to end its part; ``close`` waits for that."""
        with contextlib.suppress(OSError):
            self._wire.send("stop")

    def close(self, grace: float) -> None:
        """Wait until its ranks have ended, ``grace`` and two seconds more at most."""
        deadline = time.monotonic() + grace + 2
        with contextlib.suppress(EOFError, OSError, NoKey):
            while ready([self._wire], max(0, deadline - time.monotonic())):
                if self._wire.receive()[0] in ("error", "results"):
                    break
        self._wire.close()

    def _lost(self) -> HostLost:
        return HostLost(f"host {self._host} is lost: its agent has gone, or the way to it", AGAIN)


Worker = Zygote | Remote


def run(
    job: forked.Job,
    parts: Mapping[str, tuple[SlotInfo, ...]],
    settings: Settings,
    log: Callable[[str], None],
    stopped: Callable[[], bool],
) -> list[Any]:
    """Run the job, its ranks placed as `assign` says, and return their results in rank order.

    ``launcher.launch`` says what it raises.
    """
    working: dict[Worker, str] = {}
    try:
        for host in sorted(parts, key=LOCALHOST.__eq__):  # who may not answer comes first
            working[zygote.take() if host == LOCALHOST else Remote(host, settings)] = host
        with _meeting(parts, working, settings) as places:
            payload = forked.Pickled(pickle.dumps(job.payload))
            watchdog = Watchdog(job.stall, forked.names([slot for part in parts.values() for slot in part]))
            env = {**watchdog.environment(), **job.env}
            for worker, host in working.items():
                worker.start(dataclasses.replace(job, payload=payload, env=env), places[host])
            found = _gather(working, parts, watchdog, watchdog.heard(log), stopped)
    finally:
        for worker in working:
            worker.stop()
        for worker in working:
            worker.close(job.grace)
    return [result for host in parts for result in found[host]]


@contextmanager
def _meeting(
    parts: Mapping[str, tuple[SlotInfo, ...]], workers: Mapping[Worker, str], settings: Settings
) -> Iterator[dict[str, forked.Place]]:
    """A rendezvous server that answers at the address at which each host sees this one, and the places of the parts.

    Each agent finds its own interface.
    """
    seen = {host: worker.here() for worker, host in workers.items() if isinstance(worker, Remote)}
    addresses = sorted(set(seen.values()))
    slots = [slot for part in parts.values() for slot in part]
    with forked.rendezvous(addresses[0] if len(addresses) == 1 else "", slots) as server, forked.answering(server):
        places = {host: forked.Place(parts[host], seen[host], server.server_port, "") for host in seen}
        if LOCALHOST in parts:
            interface = settings.interface or interface_of(addresses[0])
            places[LOCALHOST] = forked.Place(parts[LOCALHOST], addresses[0], server.server_port, interface)
        yield places


def _gather(
    working: dict[Worker, str],
    parts: Mapping[str, tuple[SlotInfo, ...]],
    watchdog: Watchdog,
    log: Callable[[str], None],
    stopped: Callable[[], bool],
) -> dict[str, list[Any]]:
    """Hear the workers until each has answered, and take those that have out of ``working``; host to its results."""
    found: dict[str, list[Any]] = {}
    lost: PeerLost | None = None
    deadline = math.inf
    while working:
        for worker in ready(working, TICK):
            kind, value = worker.receive()
            if kind == "line":
                log(value)
            elif kind == "beats":
                watchdog.note(value)
            else:
                worker.release()
                host = working.pop(worker)
                if kind == "results":
                    found[host] = value
                    watchdog.note(dict.fromkeys((slot.rank for slot in parts[host]), None))
                elif not isinstance(value, PeerLost):
                    raise value
                elif lost is None:
                    lost, deadline = value, time.monotonic() + SETTLE
        if lost and (not working or time.monotonic() > deadline):
            raise lost
        if stopped():
            raise RankFailed(f"the job was stopped while it ran on {', '.join(working.values())}", AGAIN)
    return found


def assign(slots: Mapping[str, int], ranks: int) -> dict[str, tuple[SlotInfo, ...]]:
    """Which ranks each host takes: the first host's slots are filled first.

    Raises:
        BadInput: there are more ranks than slots.
    """
    total = sum(slots.values())
    if ranks > total:
        raise BadInput(
            f"a Horovod job of {ranks} ranks, and UPDRAFT_HOSTS has {total} slots in all",
            f"ask for at most {total} ranks (training.ranks), or name more hosts or slots",
        )
    placed = get_host_assignments([HostInfo(*pair) for pair in slots.items()], ranks, ranks)
    return {host: tuple(part) for host, part in groupby(placed, key=lambda slot: slot.hostname)}


def interface_of(address: str) -> str:
    """The network interface that has an address of this host."""
    for name, found in psutil.net_if_addrs().items():
        if any(each.address == address for each in found):
            return name
    raise BadInput(f"no network interface of this host has the address {address}", "name it in UPDRAFT_INTERFACE")
