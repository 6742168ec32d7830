"""The service inside a Bento: the one package that it was built around, anywhere, with no registry.

Requests are logged under UPDRAFT_HOME, as everywhere.
"""

from pathlib import Path

import bentoml

from serving.app import application
from serving.models import Packaged
from serving.mounted import Mounted, in_place, lean, pin_threads, spare_garbage_collection
from serving.protocol import accept_when_asked
from tasks.core.settings import settings
from tasks.runtime.requests import RequestLog

_PACKAGE = Path(__file__).resolve().parents[1] / "package"

_mounted = Mounted()


@in_place(_mounted)
@bentoml.service(**lean(settings().serving_workers))
class Updraft:
    """The model of this Bento."""

    def __init__(self) -> None:
        pin_threads()
        accept_when_asked()
        self._log = RequestLog(settings().home, cap_mib=settings().request_log_mib)
        self._log.start()
        _mounted.mount(application(Packaged(_PACKAGE), self._log))
        spare_garbage_collection()

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Writes what waits in the request log."""
        self._log.stop()
