"""The registry's champions, as they change, and the challengers that are tried beside them."""

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from serving.memory import Memory
from serving.models import Challenger, Live, read_live
from serving.workers import Workers
from tasks.core.config import project_names
from tasks.core.registry import CHAMPION, Registry, Trial, Version
from tasks.core.store import Store

log = logging.getLogger("updraft.serving")


class Champions:
    """The registry's champions, looked up again and again by a thread.

    A new champion is loaded and warmed beside the old one and then takes its place in one assignment, so that no
    request meets a half-loaded model. One that does not load leaves the old one in place. A project's first champion is
    loaded at once if the memory budget has room for it, else when it is first asked for. A challenger is loaded before
    its first request, and stays loaded when it becomes champion.

    Args:
        registry: used by the thread alone once it runs.
        memory: where the models are kept.
        workers: the other processes that answer beside this one.
        seconds: between two looks.
    """

    def __init__(
        self, registry: Registry, store: Store, memory: Memory, workers: Workers, seconds: float = 1.0
    ) -> None:
        self._registry, self._store, self._memory, self._workers = registry, store, memory, workers
        self._seconds = seconds
        self._live: Mapping[str, Live] = {}
        self._challengers: Mapping[str, Challenger] = {}
        self._refused: dict[str, int] = {}
        self._looked, self._blind = False, False
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
        self._workers.leave()

    def names(self) -> Sequence[str]:
        """See `Models`."""
        return sorted({*project_names(), *self._live})

    def live(self, project: str) -> Live | None:
        """See `Models`."""
        return self._live.get(project)

    def challenger(self, project: str) -> Challenger | None:
        """See `Models`."""
        found = self._challengers.get(project)
        return found if found and found.until > datetime.now(UTC).replace(tzinfo=None) else None

    def challengers(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Models`."""
        return self._workers.tried()

    def versions(self) -> Mapping[str, int | str | None]:
        """See `Models`."""
        return {name: self._workers.agreed(name) for name in self.names()}

    def ready(self) -> bool:
        """See `Models`."""
        return self._looked

    def refresh(self) -> None:
        """Looks once; what fails is logged and tried again at the next look."""
        try:
            # Before the champions: a promotion ends its trial, and what was tried shall not be unloaded in between.
            trials = self._registry.trials()
            for project in project_names():
                self._look(project)
                self._look_beside(project, trials.get(project))
            tried = {name: found.told() for name, found in self._challengers.items()}
            self._workers.tell({name: live.version for name, live in self._live.items()}, tried)
        except Exception as error:
            if not self._blind:
                log.warning("The registry cannot be read; the present champions stay. %s", error)
            self._blind = True
        else:
            self._looked, self._blind = True, False

    def _look(self, project: str) -> None:
        live = self._live.get(project)
        number = self._registry.aliases(project).get(CHAMPION)
        champion = self._registry.alias(project) if number and (live is None or live.version != number) else None
        if champion:
            self._switch(champion, live)

    def _switch(self, champion: Version, before: Live | None) -> None:
        project, number = champion.project, champion.version
        tried = self._challengers.get(project)
        try:
            live = tried.live if tried and tried.live.version == number else self._fetch(champion)
            if before or self._memory.fits(live.model.folder):
                live.model.get()
        except Exception:
            if self._refused.get(project) != number:
                log.exception("%s version %d cannot be loaded; what was live stays.", project, number)
            self._refused[project] = number
            return
        self._live = {**self._live, project: live}
        if before:
            before.model.forget()
        self._refused.pop(project, None)
        log.info("%s version %d is live.", project, number)

    def _look_beside(self, project: str, trial: Trial | None) -> None:
        """Begins, changes or ends the project's trial here."""
        champion, before = self._live.get(project), self._challengers.get(project)
        known = before.live if before and trial and before.live.version == trial.version else None
        if before and not known:
            self._challengers = {name: each for name, each in self._challengers.items() if name != project}
            if before.live is not champion:
                before.live.model.forget()
        if trial and champion and champion.version != trial.version:
            self._try(trial, known)

    def _try(self, trial: Trial, live: Live | None) -> None:
        project, number = trial.project, trial.version
        if live is None:
            try:
                live = self._fetch(self._registry.version(project, number))
                live.model.get()
            except Exception:
                if self._refused.get(project) != number:
                    log.exception("%s version %d cannot be loaded, and is not tried.", project, number)
                self._refused[project] = number
                return
        self._challengers = {**self._challengers, project: Challenger(live, trial.mode, trial.share, trial.until)}

    def _fetch(self, champion: Version) -> Live:
        folder = self._store.fetch(champion.package.rpartition("/")[0])
        told = {"package": champion.key, "metrics": champion.measured["metrics"]}
        return read_live(folder, self._memory, champion.version, **told)

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.refresh()
