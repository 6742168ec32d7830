"""Which version is champion: the deploy stage after the gates, and promotion or rollback by hand.

The alias ``champion`` moves by compare-and-swap from the champion that the candidate was judged against; ``previous``
remembers the one before, for a rollback. Endpoints follow the alias by themselves.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from tasks.core.errors import BadInput, Refused, UpdraftError
from tasks.core.registry import Registry, Version
from tasks.core.settings import settings
from tasks.core.stages import Context, Outcome
from tasks.runtime.installation import installation

CHAMPION = "champion"
PREVIOUS = "previous"

SWITCH_SECONDS = 30.0
"""How long a running endpoint may take to answer with a new champion."""


def deploy(ctx: Context) -> Outcome:
    """Registers the candidate as a version, makes it champion, and waits for the endpoint to switch.

    Raises:
        Refused: the candidate did not pass its gates.
        Conflict: another version became champion since the candidate was judged.
        UpdraftError: a running endpoint does not switch.
    """
    gates, report = ctx.input("gate").metrics, ctx.input("evaluate").metrics
    if not gates["passed"]:
        raise Refused(f"{ctx.spec.name}: the candidate did not pass its gates.", "Nothing was deployed; train again.")
    judged_against = (report.get("champion") or {}).get("version")
    candidate, package = ctx.input("train").key, ctx.input("package")
    details = {
        "metrics": report,
        "gates": gates,
        "candidate": candidate,
        "judged_against": judged_against,
        "run_id": ctx.run_id,
    }
    version = ctx.registry.register(ctx.spec.name, package.key, package.path, details)
    champion = ctx.registry.alias(ctx.spec.name, CHAMPION)
    # A new package of the champion's own weights takes its place: the weights were judged already.
    same_weights = champion is not None and champion.details["candidate"] == candidate
    expected = _number(champion) if same_weights else judged_against
    why = f"passed its gates against {f'version {judged_against}' if judged_against else 'no champion'}"
    _move(ctx.registry, version, expected, who="deploy", why=why, run_id=ctx.run_id)
    promotion = {
        "version": version.version,
        "previous": expected,
        "endpoint": await_endpoint(ctx.spec.name, version.version),
    }
    (ctx.out / "promotion.json").write_text(json.dumps(promotion, indent=2), encoding="utf-8")
    return Outcome(metrics=promotion)


def promote(registry: Registry, project: str, version: int, who: str) -> Version:
    """Makes an existing version champion by hand.

    Raises:
        BadInput: there is no such version.
        Conflict: somebody else moved the alias meanwhile.
    """
    found = {v.version: v for v in registry.versions(project)}
    if version not in found:
        known = ", ".join(map(str, found)) or "none"
        raise BadInput(f"{project} has no version {version}.", f"Versions there are: {known}.")
    _move(registry, found[version], _number(registry.alias(project, CHAMPION)), who=who, why="promoted by hand")
    return found[version]


def rollback(registry: Registry, project: str, who: str) -> Version:
    """Makes the champion before this one champion again; a second rollback undoes the first.

    Raises:
        BadInput: there is none to go back to.
        Conflict: somebody else moved the alias meanwhile.
    """
    champion, previous = registry.alias(project, CHAMPION), registry.alias(project, PREVIOUS)
    if champion is None or previous is None or champion.version == previous.version:
        raise BadInput(f"{project} has no earlier champion to go back to.", "List its versions: updraft models list.")
    _move(registry, previous, champion.version, who=who, why=f"rolled back from version {champion.version}")
    return previous


def await_endpoint(project: str, version: int, seconds: float = SWITCH_SECONDS) -> str:
    """Waits until this installation's endpoint answers with ``version``; in words, what came of it.

    Raises:
        UpdraftError: it runs, but goes on answering with something else for ``seconds``.
    """
    address = f"http://{settings().host}:{settings().serving_port}"
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
        "Look at the endpoint's log; then run this stage again.",
    )


def _move(registry: Registry, version: Version, expected: int | None, *, who: str, why: str, run_id: str = "") -> None:
    """Moves champion from ``expected`` to ``version``, unless an earlier attempt did, and remembers ``expected``."""
    project, number = version.project, version.version
    if _number(registry.alias(project, CHAMPION)) != number:
        registry.move_alias(project, CHAMPION, number, expected=expected, who=who, why=why, run_id=run_id)
    before = _number(registry.alias(project, PREVIOUS))
    if expected not in (None, number, before):
        why = f"champion before version {number}"
        registry.move_alias(project, PREVIOUS, expected, expected=before, who=who, why=why, run_id=run_id)


def _number(version: Version | None) -> int | None:
    return version.version if version else None


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
