"""The registry's champions, as they change, and the challengers that are tried beside them."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from serving.memory import Memory
from serving.models import Challenger, Live, read_live
from serving.reports import Reports
from serving.watching import Watcher
from serving.workers import Workers
from tasks.core.config import project_names
from tasks.core.errors import UpdraftError
from tasks.core.registry import CHAMPION, Registry, Trial, Version
from tasks.core.store import Store

log = logging.getLogger("updraft.serving")


class Champions(Watcher):
    """The registry's champions as they change.

    A new champion is loaded and warmed beside the old one and then takes its place in one assignment, so that no
    request meets a half-loaded model. One that does not load leaves the old one in place. A project's first champion is
    loaded at once if the memory budget has room for it, else when it is first asked for. A challenger is loaded before
    its first request, and stays loaded when it becomes champion; it is not tried where the budget cannot hold both.

    Args:
        registry: used by the thread alone once it runs.
        memory: where the models are kept.
        workers: the other processes that answer beside this one.
        reports: takes to the registry what answers here, and what came of trials.
        seconds: between two looks.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        memory: Memory,
        workers: Workers,
        reports: Reports,
        seconds: float = 1.0,
    ) -> None:
        super().__init__("champions", seconds, "The registry cannot be read; the present champions stay.")
        self._registry, self._store, self._memory, self._workers = registry, store, memory, workers
        self._reports = reports
        self._live: Mapping[str, Live] = {}
        self._challengers: Mapping[str, Challenger] = {}
        self._refused: dict[str, int] = {}
        self._looked = False

    def stop(self) -> None:
        """Ends the thread, and says that this worker answers no more."""
        super().stop()
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

    def look(self) -> None:
        """See `Watcher`."""
        # Before the champions: a promotion ends its trial, and what was tried shall not be unloaded in between.
        trials = self._registry.trials()
        for project in project_names():
            self._look_at(project)
            self._look_beside(project, trials.get(project))
        versions = {name: live.version for name, live in self._live.items()}
        tried = {name: found.told() for name, found in self._challengers.items()}
        self._workers.tell(versions, tried)
        self._reports.tell(versions, tried)
        self._looked = True

    def _look_at(self, project: str) -> None:
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
            self._try(trial, champion, known)

    def _try(self, trial: Trial, champion: Live, known: Live | None) -> None:
        project, number = trial.project, trial.version
        try:
            live = known or self._beside(champion, self._registry.version(project, number))
        except Exception as error:
            if self._refused.get(project) != number:
                is_told = isinstance(error, UpdraftError)
                log.warning("%s version %d is not tried. %s", project, number, error, exc_info=not is_told)
            self._refused[project] = number
            return
        keep = partial(self._reports.add, project, trial.at)
        tried = Challenger(live, trial.mode, trial.share, trial.until, keep)
        self._challengers = {**self._challengers, project: tried}

    def _beside(self, champion: Live, challenger: Version) -> Live:
        live = self._fetch(challenger)
        self._memory.pair(champion.model, live.model)
        return live

    def _fetch(self, version: Version) -> Live:
        folder = self._store.fetch(version.package.rpartition("/")[0])
        told = {"package": version.key, "metrics": version.measured["metrics"]}
        return read_live(folder, self._memory, version.version, **told)
