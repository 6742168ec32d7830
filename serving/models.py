"""What answers for a project, and the simplest way to know it: one package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request

from serving.errors import Problem
from tasks.runtime.predictor import Predictor


@dataclass(frozen=True)
class Live:
    """A loaded, warm model.

    Attributes:
        version: the registry's number, or a Bento's tag.
        metrics: what evaluation measured.
        since: when this process began to answer with it.
    """

    predictor: Predictor
    version: int | str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


class Models(Protocol):
    """Where the endpoint looks its models up."""

    def names(self) -> Sequence[str]:
        """The projects there are, with a live model or without."""
        ...

    def live(self, project: str) -> Live | None:
        """The project's model, if there is one yet."""
        ...


def find(models: Models, request: Request) -> Live:
    """The live model of the project that the request's path names.

    Raises:
        Problem: 404 there is no such project, 503 it has no model yet.
    """
    project = request.path_params["project"]
    live = models.live(project)
    if live:
        return live
    names = models.names()
    if project not in names:
        raise Problem(404, "unknown_project", f"There is no such project. Known: {', '.join(names) or 'none'}.")
    raise Problem(503, "no_champion", f"{project} has no champion yet: run its train DAG, or updraft run {project}.")


class Packaged:
    """The one package of a Bento.

    Raises:
        UpdraftError: it cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        predictor = Predictor.load(folder)
        predictor.warm_up()
        self._live = Live(predictor, predictor.signature.build)

    def names(self) -> Sequence[str]:
        """See `Models`."""
        return [self._live.predictor.signature.project]

    def live(self, project: str) -> Live | None:
        """See `Models`."""
        return self._live if project in self.names() else None
