"""One host's ranks of a Horovod job, forked from this process, which must not have run TensorFlow."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from horovod.runner.common.util.hosts import SlotInfo, get_host_assignments, parse_hosts
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

from tasks.core.errors import BadInput
from tasks.training.jobs import gpus
from tasks.training.jobs.pulse import Beat
from tasks.training.jobs.ranks import Ranks
from tasks.training.jobs.watchdog import Watchdog

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Which ranks of a job are a host's, and where all its ranks meet.

    Attributes:
        slots: the host's, in rank order.
        address: of the rendezvous server, as this host reaches it.
        port: of the rendezvous server.
        interface: the network interface of the ranks' own traffic.
    """

    slots: tuple[SlotInfo, ...]
    address: str
    port: int
    interface: str


@dataclass(frozen=True)
class Pickled:
    """A payload that only the ranks unpickle: what passes it on need not be able to import what it is made of."""

    data: bytes


@dataclass(frozen=True)
class Job:
    """What to run in every rank, and within which limits; the fields are ``launcher.launch``'s arguments."""

    target: str
    payload: Any
    ranks: int
    timeout: float | None
    env: Mapping[str, str]
    grace: float
    stall: float | None = None


def resolve(target: str) -> Callable[[Any], Any]:
    """Import ``package.module:function``."""
    module, _, name = target.partition(":")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except (ModuleNotFoundError, ValueError) as error:
        raise BadInput(f"cannot import {target!r} for the ranks: {error}", "name it package.module:function") from error
    if not callable(function):
        raise BadInput(f"{module} has no function {name!r} for the ranks to run", "name it package.module:function")
    return function


def fork_is_safe() -> bool:
    """Whether a forked child of this process could run TensorFlow: importing it is harmless, its thread pools are not.

    The pools are looked for by name too: a graph session (TensorFlow Transform runs them) starts them and leaves the
    eager context uninitialized.
    """
    module = sys.modules.get("tensorflow.python.eager.context")
    context = module.context_safe() if module else None
    if context is not None and context._context_handle is not None:
        return False
    return not any(_thread_name(task).startswith("tf_") for task in Path("/proc/self/task").iterdir())


def run(job: Job, log: Callable[[str], None], stopped: Callable[[], bool]) -> list[Any]:
    """Run the whole job here and return the ranks' results in rank order; ``launcher.launch`` says what it raises."""
    slots = get_host_assignments(parse_hosts(f"localhost:{job.ranks}"), job.ranks, job.ranks)
    watchdog = Watchdog(job.stall, names(slots))
    watched = dataclasses.replace(job, env={**watchdog.environment(), **job.env})
    with rendezvous(LOOPBACK, slots) as server:
        place = Place(tuple(slots), LOOPBACK, server.server_port, "lo")
        return run_part(watched, place, watchdog.heard(log), stopped, watchdog.note, partial(answering, server))


def run_part(
    job: Job,
    place: Place,
    log: Callable[[str], None],
    stopped: Callable[[], bool],
    beats: Callable[[Mapping[int, Beat | None]], None],
    meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[Any]:
    """Run those of the job's ranks that have their place here.

    Args:
        job: the job.
        place: the ranks, and where they meet the others.
        log: receives the ranks' lines.
        stopped: asked many times a second.
        beats: receives how far the ranks are; may raise.
        meanwhile: entered once all ranks are forked, for a fork copies one thread only.
    """
    function = resolve(job.target)  # before the fork, so that its imports are shared by all ranks
    ranks = Ranks(log, names(place.slots), place.slots[0].rank)
    try:
        for slot in place.slots:
            environment, cores = {**_slot(slot, place), **_resources(slot, job.env)}, _cores(slot)
            ranks.start(lambda: _rank(function, job.payload, environment, cores))  # noqa: B023 - called before the next
        with meanwhile():
            ranks.wait(job.timeout, stopped, beats, job.stall)
    finally:
        ranks.end(job.grace)
    return ranks.results()


def names(slots: Sequence[SlotInfo]) -> list[str]:
    """What to call ranks in a message."""
    return [
        f"rank {slot.rank} of {slot.size}" + (f" on {slot.hostname}" if slot.local_size < slot.size else "")
        for slot in slots
    ]


@contextmanager
def rendezvous(address: str, slots: Sequence[SlotInfo]) -> Iterator[RendezvousHTTPServer]:
    """A rendezvous server that has its port; it answers within ``answering``."""
    with RendezvousHTTPServer((address, 0), RendezvousHandler, False) as server:
        server.init(slots)
        yield server


@contextmanager
def answering(server: RendezvousHTTPServer) -> Iterator[None]:
    """A thread in which the server answers."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def _rank(function: Callable[[Any], Any], payload: Any, environment: Mapping[str, str], cores: Sequence[int]) -> Any:
    """What a rank does; it leaves Horovod only together with the others, who may still be reducing."""
    os.environ.update(environment)
    os.sched_setaffinity(0, cores)  # inherited by all threads that it starts
    result = function(pickle.loads(payload.data) if isinstance(payload, Pickled) else payload)
    if horovod := sys.modules.get("horovod.tensorflow"):
        horovod.shutdown()
    return result


def _slot(slot: SlotInfo, place: Place) -> dict[str, str]:
    """The environment in which ``hvd.init()`` finds its place and the others."""
    values = {
        "HOSTNAME": slot.hostname,
        "RANK": slot.rank,
        "SIZE": slot.size,
        "LOCAL_RANK": slot.local_rank,
        "LOCAL_SIZE": slot.local_size,
        "CROSS_RANK": slot.cross_rank,
        "CROSS_SIZE": slot.cross_size,
        "CONTROLLER": "gloo",
        "CPU_OPERATIONS": "gloo",
        "GLOO_RENDEZVOUS_ADDR": place.address,
        "GLOO_RENDEZVOUS_PORT": place.port,
        "GLOO_IFACE": place.interface,
        # Ranks meet when the slowest has loaded its data; the job's own time limit ends a job that never meets.
        "GLOO_TIMEOUT_SECONDS": 600,
    }
    return {f"HOROVOD_{name}": str(value) for name, value in values.items()}


def _cores(slot: SlotInfo) -> list[int]:
    """The rank's own cores of this host's, or all of them where they cannot be shared out evenly.

    Ranks wait for each other at every step: each time that the system puts two on one core, all have to. And with some
    cores left to nobody, two jobs side by side would meet on the same ones.
    """
    cores = sorted(os.sched_getaffinity(0))
    share, left = divmod(len(cores), slot.local_size)
    return cores if left else cores[slot.local_rank * share : (slot.local_rank + 1) * share]


def _resources(slot: SlotInfo, env: Mapping[str, str]) -> dict[str, str]:
    """``env``, with the rank's share of this host's cores and one of its GPUs.

    Left alone, each rank starts one thread per core, and they wait for each other.
    """
    share = str(max(1, len(os.sched_getaffinity(0)) // slot.local_size))
    threads = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    cores = {name: os.environ.get(name, share) for name in threads}
    devices = gpus.devices({**os.environ, **env})
    return {**cores, **gpus.GROWTH, **env, **gpus.pinned(devices, slot.local_rank)}


def _thread_name(task: Path) -> str:
    try:
        return (task / "comm").read_text()
    except OSError:  # it ended meanwhile
        return ""
