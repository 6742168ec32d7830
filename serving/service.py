"""The endpoint of an installation: every project's champion, switched as the registry's alias moves.

Started as ``bentoml serve serving.service:Updraft``.
"""

import socket

import bentoml

from serving.app import application
from serving.champions import Champions
from serving.key_ring import KeyRing
from serving.memory import Memory
from serving.mounted import Mounted, in_place, lean, pin_threads, spare_garbage_collection
from serving.protocol import accept_when_asked
from serving.reports import Reports
from serving.workers import Workers
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import open_store
from tasks.runtime.requests import RequestLog

_mounted = Mounted()


@in_place(_mounted)
@bentoml.service(**lean(settings().serving_workers))
class Updraft:
    """Champions of all projects."""

    def __init__(self) -> None:
        pin_threads()
        accept_when_asked()
        self._registry = Registry(settings().registry_url)
        store, memory = open_store(settings().store_uri), Memory(settings().memory_per_worker)
        self._reports = Reports(self._registry, _address())
        self._champions = Champions(self._registry, store, memory, Workers(settings().home), self._reports)
        self._log = RequestLog(settings().home, cap_mib=settings().request_log_mib)
        self._keys = KeyRing(self._registry.keys)
        _mounted.mount(application(self._champions, self._log, self._keys))
        self._champions.start()
        self._reports.start()
        self._keys.start()
        self._log.start()
        spare_garbage_collection()

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Ends the threads; what waits to be written is written first."""
        self._champions.stop()
        self._reports.stop()
        self._keys.stop()
        self._log.stop()
        self._registry.close()


def _address() -> str:
    """For people who may be on another machine."""
    host = socket.gethostname() if settings().host in ("0.0.0.0", "::") else settings().host
    return f"http://{host}:{settings().serving_port}"
