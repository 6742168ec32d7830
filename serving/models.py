"""What answers for a project, and the simplest way to know it: one package."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request

from serving.errors import Problem
from serving.memory import Memory, Model
from tasks.runtime.baseline import BASELINE, Baseline
from tasks.runtime.predictor import SIGNATURE, Predictor, Signature


@dataclass(frozen=True, eq=False)
class Live:
    """A version that answers. What it is stands here always; its model is in memory while there is room for it.

    Attributes:
        version: the registry's number, or a Bento's tag.
        model: loads itself when it is needed.
        package: the key of its package.
        metrics: what evaluation measured.
        baseline: what its training rows looked like; None where the package does not say.
        since: when this process began to answer with it.
    """

    signature: Signature
    version: int | str
    model: Model
    package: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    baseline: Baseline | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def predictor(self) -> Predictor:
        """The model, which is loaded first where it is not in memory: from a thread, not from the event loop.

        Raises:
            UpdraftError: it cannot be loaded.
        """
        return self.model.get().predictor


def place(request_id: str, version: int | str) -> float:
    """Where a request stands among all, evenly from 0 up to 1.

    The version has a part in it: another challenger meets other requests. So it is none of the places by which the
    request log takes its sample.
    """
    digest = hashlib.blake2b(f"{version} {request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True, eq=False)
class Challenger:
    """What is tried.

    Attributes:
        mode: ``shadow``: it is asked, too, and the champion answers. ``canary``: it answers.
        share: of the requests.
        until: when it is passed over, UTC without zone: whoever judges it may be dead by then.
        keep: takes what came of a request, see `serving.trials`, to whoever judges it.
    """

    live: Live
    mode: str
    share: float
    until: datetime
    keep: Callable[[Mapping[str, Any]], None]

    def takes(self, request_id: str) -> bool:
        """Whether the request is one of its share: what is taken once, a larger share takes, too."""
        return place(request_id, self.live.version) < self.share

    def answers(self, request_id: str) -> bool:
        """Whether it answers the request in place of the champion."""
        return self.mode == "canary" and self.takes(request_id)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {"version": self.live.version, "mode": self.mode, "share": self.share}


class Models(Protocol):
    """Where the endpoint looks its models up. Nothing here loads one."""

    def names(self) -> Sequence[str]:
        """The projects there are, with a live version or without."""
        ...

    def live(self, project: str) -> Live | None:
        """The project's version, if there is one yet."""
        ...

    def challenger(self, project: str) -> Challenger | None:
        """What is tried beside the project's version now."""
        ...

    def versions(self) -> Mapping[str, int | str | None]:
        """Project to the version that every worker answers with; None while they do not agree, or there is none."""
        ...

    def challengers(self) -> Mapping[str, Mapping[str, Any]]:
        """Project to the trial that every worker takes part in, see `Challenger.told`."""
        ...

    def ready(self) -> bool:
        """Whether every champion there is has been looked at: it answers, or it cannot be loaded."""
        ...


def find(models: Models, request: Request) -> Live:
    """The live version of the project that the request's path names.

    Raises:
        Problem: 404 there is no such project, 503 it has no version yet.
    """
    project = request.path_params["project"]
    live = models.live(project)
    if live:
        return live
    names = models.names()
    if project not in names:
        raise Problem(404, "unknown_project", f"There is no such project. Known: {', '.join(names) or 'none'}.")
    raise Problem(503, "no_champion", f"{project} has no champion yet: run its train DAG, or updraft run {project}.")


def read_live(folder: Path, memory: Memory, version: int | str | None = None, **told: Any) -> Live:
    """The package in ``folder`` as what answers, its model not loaded yet.

    Args:
        version: its number; the package's own name where it has none.
        told: the other attributes of `Live` that are known.

    Raises:
        OSError: a file is missing.
        ValueError: one is damaged.
    """
    signature = Signature.model_validate_json((folder / SIGNATURE).read_bytes())
    path = folder / BASELINE
    baseline = Baseline.model_validate_json(path.read_bytes()) if path.is_file() else None
    return Live(signature, version or signature.build, Model(folder, memory), baseline=baseline, **told)


class Packaged:
    """The one package of a Bento.

    Raises:
        UpdraftError: it cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        self._live = read_live(folder, Memory(None))
        self._live.model.get()

    def names(self) -> Sequence[str]:
        """See `Models`."""
        return [self._live.signature.project]

    def live(self, project: str) -> Live | None:
        """See `Models`."""
        return self._live if project in self.names() else None

    def versions(self) -> Mapping[str, int | str | None]:
        """See `Models`."""
        return {self._live.signature.project: self._live.version}

    def challenger(self, project: str) -> Challenger | None:
        """See `Models`."""
        return None

    def challengers(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Models`."""
        return {}

    def ready(self) -> bool:
        """See `Models`."""
        return True
