"""One Horovod job whose ranks are forked from this process, which must not have run TensorFlow."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from horovod.runner.common.util.hosts import SlotInfo, get_host_assignments, parse_hosts
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

from tasks.core.errors import BadInput
from tasks.training.ranks import Ranks

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Job:
    """What to run in every rank, and within which limits; the fields are ``launcher.launch``'s arguments."""

    target: str
    payload: Any
    ranks: int
    timeout: float | None
    env: Mapping[str, str]
    grace: float


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
    """Run the job and return the ranks' results in rank order; ``launcher.launch`` says what it raises."""
    function = resolve(job.target)  # before the fork, so that its imports are shared by all ranks
    with RendezvousHTTPServer((LOOPBACK, 0), RendezvousHandler, False) as server:
        slots = get_host_assignments(parse_hosts(f"localhost:{job.ranks}"), job.ranks, job.ranks)
        server.init(slots)
        ranks = Ranks(log)
        try:
            for slot in slots:  # every fork comes before the server's thread: a fork copies one thread only
                environment = {**_slot(slot, server.server_port), **_cores(job.ranks), **job.env}
                ranks.start(lambda: _rank(function, job.payload, environment))  # noqa: B023 - called before the next
            with _answering(server):
                ranks.wait(job.timeout, stopped)
        finally:
            ranks.end(job.grace)
    return ranks.results()


def _rank(function: Callable[[Any], Any], payload: Any, environment: Mapping[str, str]) -> Any:
    """What a rank does; it leaves Horovod only together with the others, who may still be reducing."""
    os.environ.update(environment)
    result = function(payload)
    if horovod := sys.modules.get("horovod.tensorflow"):
        horovod.shutdown()
    return result


def _slot(slot: SlotInfo, port: int) -> dict[str, str]:
    """The environment in which ``hvd.init()`` finds its place and the others, on this host's loopback only."""
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
        "GLOO_RENDEZVOUS_ADDR": LOOPBACK,
        "GLOO_RENDEZVOUS_PORT": port,
        "GLOO_IFACE": "lo",
        # Ranks meet when the slowest has loaded its data; the job's own time limit ends a job that never meets.
        "GLOO_TIMEOUT_SECONDS": 600,
    }
    return {f"HOROVOD_{name}": str(value) for name, value in values.items()}


def _cores(ranks: int) -> dict[str, str]:
    """Ranks share the cores: left alone, each of them starts one thread per core, and they wait for each other."""
    share = str(max(1, len(os.sched_getaffinity(0)) // ranks))
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {name: os.environ.get(name, share) for name in names}


def _thread_name(task: Path) -> str:
    try:
        return (task / "comm").read_text()
    except OSError:  # it ended meanwhile
        return ""


@contextmanager
def _answering(server: RendezvousHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
