"""Whether this installation's endpoint answers with a version yet."""

import time
from collections.abc import Mapping
from typing import Any

import httpx

from tasks.core.errors import UpdraftError
from tasks.core.settings import settings
from tasks.runtime.installation import installation

SWITCH_SECONDS = 30.0
"""How long a running endpoint may take to answer with a new champion."""


def await_endpoint(project: str, version: int, seconds: float = SWITCH_SECONDS) -> str:
    """Waits until this installation's endpoint answers with ``version``; in words, what came of it.

    Raises:
        UpdraftError: it runs, but goes on answering with something else for ``seconds``.
    """
    address = _address()
    live: Any = None
    deadline = time.monotonic() + seconds
    with httpx.Client(timeout=5, trust_env=False) as client:
        while time.monotonic() < deadline:
            index = _index(client, address)
            if index is None:
                return "no endpoint is running"
            live = index["projects"].get(project)
            if live == version:
                return f"{address}/v1/{project} answers with version {version}"
            time.sleep(0.2)
    raise UpdraftError(
        f"{project}: version {version} is champion, but {address} still answers with {live or 'none'} "
        f"after {seconds:g} s.",
        "Look at the endpoint's log, which names a package that does not load; or roll back: updraft models rollback.",
    )


def is_running() -> bool:
    """Whether this installation's endpoint answers."""
    with httpx.Client(timeout=5, trust_env=False) as client:
        return _index(client, _address()) is not None


def await_trial(project: str, trial: Mapping[str, Any], seconds: float = SWITCH_SECONDS) -> bool:
    """Waits until every worker of the endpoint takes part in the trial; whether they do.

    Args:
        trial: its version, mode and share.
    """
    deadline = time.monotonic() + seconds
    with httpx.Client(timeout=5, trust_env=False) as client:
        while time.monotonic() < deadline:
            index = _index(client, _address())
            if index is None:
                return False
            if index.get("challengers", {}).get(project) == trial:
                return True
            time.sleep(0.2)
    return False


def _address() -> str:
    return f"http://{settings().host}:{settings().serving_port}"


def _index(client: httpx.Client, address: str) -> Mapping[str, Any] | None:
    """What the endpoint of this installation says it serves; None when nothing or something else listens there."""
    try:
        index = client.get(address).json()
    except (httpx.ConnectError, ValueError):
        return None
    except httpx.HTTPError:
        return {"projects": {}}  # it is busy, or restarting
    ours = isinstance(index, dict) and index.get("installation") == installation()
    return index if ours else None
