"""Which version is champion: the deploy stage after the gates, and promotion or rollback by hand.

The alias ``champion`` moves by compare-and-swap from the champion that the candidate was judged against; ``previous``
follows it, for a rollback. Endpoints follow the alias by themselves. Where the spec asks for a shadow or a canary, the
candidate is tried on live requests first (`tasks.deployment.rollout`).
"""

import json
from collections.abc import Mapping
from typing import Any

from tasks.core.approvals import approved
from tasks.core.errors import BadInput, Refused
from tasks.core.notify import notify
from tasks.core.registry import CHAMPION, PREVIOUS, Registry, Version
from tasks.core.stages import Context, Outcome
from tasks.core.store import Store
from tasks.deployment.endpoint import await_endpoint

_SIGNATURE = "signature.json"
"""Of a package: says which libraries it was made with."""


def deploy(ctx: Context) -> Outcome:
    """Registers the candidate as a version, makes it champion, and waits for the endpoint to switch.

    Raises:
        Refused: the candidate did not pass its gates, or nobody has approved it where the spec asks for that.
        Conflict: another version became champion since the candidate was judged.
        NotPromoted: live requests spoke against it, or too few came.
        UpdraftError: a running endpoint does not switch.
    """
    gates = ctx.input("gate").metrics
    if not gates["passed"]:
        raise Refused(f"{ctx.spec.name}: the candidate did not pass its gates.", "Nothing was deployed; train again.")
    if ctx.spec.deployment.approval and not approved(ctx.registry, ctx.spec.name, ctx.input("gate").key):
        fix = f"Look at its card; then: updraft run {ctx.spec.name} --approve"
        raise Refused(f"{ctx.spec.name}: nobody has approved the candidate.", fix)
    package, details = ctx.input("package"), _details(ctx)
    version = ctx.registry.register(ctx.spec.name, package.key, package.path, details, run_id=ctx.run_id)
    champion = ctx.registry.alias(ctx.spec.name, CHAMPION)
    judged_against = details["judged_against"]
    # A new package of the champion's own weights takes its place: the weights were judged already.
    same_weights = champion is not None and champion.details["candidate"] == details["candidate"]
    expected = champion.version if champion and same_weights else judged_against
    tried: list[dict[str, Any]] = []
    if champion is None or champion.version != version.version:  # else an earlier attempt moved it
        why = f"passed its gates against {f'version {judged_against}' if judged_against else 'no champion'}"
        if champion and champion.version == expected and ctx.spec.deployment.minutes:
            tried = _try_out(ctx, version.version, champion.version)
            why += f", and {len(tried)} {'step' if len(tried) == 1 else 'steps'} of live requests"
        ctx.registry.move_alias(
            ctx.spec.name, CHAMPION, version.version, expected=expected, who="deploy", why=why, run_id=ctx.run_id
        )
        notify(f"{ctx.spec.name}: version {version.version} is champion", why)
    promotion: dict[str, Any] = {
        "version": version.version,
        "previous": expected,
        "endpoint": await_endpoint(ctx.registry, ctx.spec.name, version.version),
    }
    if tried:
        promotion["trial"] = tried
    (ctx.out / "promotion.json").write_text(json.dumps(promotion, indent=2), encoding="utf-8")
    return Outcome(metrics=promotion)


def withdraw(registry: Registry, project: str, *, who: str, why: str) -> int:
    """Ends the trial of a challenger by hand: the champion answers alone.

    Returns:
        The version that was tried.

    Raises:
        BadInput: none is.
        Conflict: it was changed or ended meanwhile.
    """
    trial = registry.trial(project)
    if trial is None:
        raise BadInput(f"No version of {project} is tried now.", f"See its aliases: updraft models list {project}")
    registry.end_trial(trial, who=who, why=why)
    return trial.version


def promote(
    registry: Registry, store: Store, project: str, number: int, *, who: str, why: str, alias: str = CHAMPION
) -> int | None:
    """Points an alias to an existing version by hand.

    Returns:
        The version that it pointed to before.

    Raises:
        BadInput: there is no such version, or its package is no longer in the store.
        Conflict: somebody else moved the alias meanwhile.
    """
    before = registry.aliases(project).get(alias)
    _check_package(store, registry.version(project, number))
    if before != number:
        registry.move_alias(project, alias, number, expected=before, who=who, why=why)
    return before


def rollback(registry: Registry, store: Store, project: str, *, who: str, why: str = "") -> tuple[int, int]:
    """Makes the champion before this one champion again; a second rollback undoes the first.

    Returns:
        The champion, and the one that it was before.

    Raises:
        BadInput: there is none to go back to, or its package is no longer in the store.
        Conflict: somebody else moved the alias meanwhile.
    """
    aliases = registry.aliases(project)
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if champion is None or previous is None:
        fix = f"List its versions: updraft models list {project}"
        raise BadInput(f"{project} has no earlier champion to go back to.", fix)
    _check_package(store, registry.version(project, previous))
    told = why or f"rolled back from version {champion}"
    registry.move_alias(project, CHAMPION, previous, expected=champion, who=who, why=told)
    return previous, champion


def _try_out(ctx: Context, version: int, champion: int) -> list[dict[str, Any]]:
    # Brings SciPy, which a rollback shall not wait for.
    from tasks.deployment.rollout import try_out

    return try_out(ctx, version, champion)


def _details(ctx: Context) -> dict[str, Any]:
    """What the registry keeps of the version for good."""
    report, gates, package = ctx.input("evaluate").metrics, ctx.input("gate").metrics, ctx.input("package")
    signature: Mapping[str, Any] = json.loads(ctx.store.read_bytes(f"{package.folder}/{_SIGNATURE}"))
    return {
        "metrics": report,
        "gates": gates,
        "form": signature["form"],
        "candidate": ctx.input("train").key,
        "card": ctx.input("card").path,
        "judged_against": (report.get("champion") or {}).get("version"),
        "lock": signature["lock"],
        "libraries": signature["libraries"],
        "run_id": ctx.run_id,
    }


def _check_package(store: Store, version: Version) -> None:
    if not store.exists(version.package):
        raise BadInput(
            f"{version.project}: the package of version {version.version} is not in the store {store.uri}: "
            f"{version.package} is gone.",
            "Import it from an export (updraft models import), or promote another version.",
        )
