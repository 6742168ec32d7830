"""The endpoint of an installation: every project's champion, switched as the registry's alias moves.

Started as ``bentoml serve serving.service:Updraft``.
"""

import bentoml

from serving.app import application
from serving.champions import Champions
from serving.mounted import LEAN, Mounted
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import open_store
from tasks.runtime.requests import RequestLog

_mounted = Mounted()


@bentoml.asgi_app(_mounted)
@bentoml.service(**LEAN)
class Updraft:
    """Champions of all projects."""

    def __init__(self) -> None:
        self._registry = Registry(settings().registry_url)
        self._champions = Champions(self._registry, open_store(settings().store_uri))
        self._log = RequestLog(settings().home)
        _mounted.mount(application(self._champions, self._log))
        self._champions.start()
        self._log.start()

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Ends the threads; what waits in the request log is written first."""
        self._champions.stop()
        self._log.stop()
        self._registry.close()
