"""What the workers of the endpoints answer with, on whatever machines they run: they say so in the registry."""

import time
from collections.abc import Mapping
from typing import Any

from tasks.core.errors import UpdraftError
from tasks.core.registry import Registry

SWITCH_SECONDS = 30.0
"""How long workers may take to answer with a new champion."""

_LOOK_SECONDS = 0.2


def await_endpoint(registry: Registry, project: str, version: int, seconds: float = SWITCH_SECONDS) -> str:
    """Waits until every worker answers with ``version``; in words, what came of it.

    Raises:
        UpdraftError: one goes on answering with something else for ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while workers := registry.workers():
        others = {worker.address: live for worker in workers if (live := worker.versions.get(project)) != version}
        if not others:
            routes = sorted({f"{worker.address}/v1/{project}" for worker in workers})
            return f"{' and '.join(routes)} {'answers' if len(routes) == 1 else 'answer'} with version {version}"
        if time.monotonic() >= deadline:
            address, live = others.popitem()
            raise UpdraftError(
                f"{project}: version {version} is champion, but {address} still answers with {live or 'none'} "
                f"after {seconds:g} s.",
                "Look at the endpoint's log, which names a package that does not load; or roll back: "
                "updraft models rollback.",
            )
        time.sleep(_LOOK_SECONDS)
    return "no endpoint is running"


def is_running(registry: Registry) -> bool:
    """Whether an endpoint answers."""
    return bool(registry.workers())


def await_trial(registry: Registry, project: str, trial: Mapping[str, Any], seconds: float = SWITCH_SECONDS) -> bool:
    """Waits until every worker takes part in the trial; whether they do.

    Args:
        trial: its version, mode and share.
    """
    deadline = time.monotonic() + seconds
    while workers := registry.workers():
        if all(worker.challengers.get(project) == trial for worker in workers):
            return True
        if time.monotonic() >= deadline:
            break
        time.sleep(_LOOK_SECONDS)
    return False
