"""The registry's champions, as they change."""

import logging
import threading
from collections.abc import Mapping, Sequence

from serving.models import Live
from tasks.core.config import project_names
from tasks.core.registry import Registry, Version
from tasks.core.store import Store
from tasks.runtime.predictor import Predictor

log = logging.getLogger("updraft.serving")


class Champions:
    """The registry's champions, looked up again and again by a thread.

    A new champion is loaded and warmed beside the old one and then takes its place in one assignment, so that no
    request meets a half-loaded model. One that does not load leaves the old one in place.

    Args:
        registry: used by the thread alone once it runs.
        seconds: between two looks.
    """

    def __init__(self, registry: Registry, store: Store, seconds: float = 1.0) -> None:
        self._registry, self._store, self._seconds = registry, store, seconds
        self._live: Mapping[str, Live] = {}
        self._refused: dict[str, int] = {}
        self._blind = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champions", daemon=True)

    def start(self) -> None:
        """Loads the present champions, then goes on watching."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def names(self) -> Sequence[str]:
        """See `Models`."""
        return sorted({*project_names(), *self._live})

    def live(self, project: str) -> Live | None:
        """See `Models`."""
        return self._live.get(project)

    def refresh(self) -> None:
        """Looks once; what fails is logged and tried again at the next look."""
        try:
            for project in project_names():
                champion = self._registry.alias(project)
                live = self._live.get(project)
                if champion and (live is None or live.version != champion.version):
                    self._switch(champion)
        except Exception as error:
            if not self._blind:
                log.warning("The registry cannot be read; the present champions stay. %s", error)
            self._blind = True
        else:
            self._blind = False

    def _switch(self, champion: Version) -> None:
        project, number = champion.project, champion.version
        try:
            predictor = Predictor.load(self._store.fetch(champion.package.rpartition("/")[0]))
            predictor.warm_up()
        except Exception:
            if self._refused.get(project) != number:
                log.exception("%s version %d cannot be loaded; what was live stays.", project, number)
            self._refused[project] = number
            return
        self._live = {**self._live, project: Live(predictor, number, champion.details.get("metrics", {}))}
        self._refused.pop(project, None)
        log.info("%s version %d is live.", project, number)

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.refresh()
