"""The service inside a Bento: the one package that it was built around, anywhere, with no registry.

Requests are logged under UPDRAFT_HOME, as everywhere.
"""

from pathlib import Path

import bentoml

from serving.app import application
from serving.models import Packaged
from serving.mounted import LEAN, Mounted
from tasks.core.settings import settings
from tasks.runtime.requests import RequestLog

_PACKAGE = Path(__file__).resolve().parents[1] / "package"

_mounted = Mounted()


@bentoml.asgi_app(_mounted)
@bentoml.service(**LEAN)
class Updraft:
    """The model of this Bento."""

    def __init__(self) -> None:
        self._log = RequestLog(settings().home)
        self._log.start()
        _mounted.mount(application(Packaged(_PACKAGE), self._log))

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Writes what waits in the request log."""
        self._log.stop()
