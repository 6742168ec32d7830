"""What a study takes over from the project's last one: its best parameters to try first, or, for a while, all of it.

Which study was the last one changes as soon as a study has run. So one that asks the same question again (same code,
spec and inputs) is told what it was told then, and finds its own artifact.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.artifacts import Manifest, digest_json
from tasks.core.errors import UpdraftError
from tasks.core.pipeline import BUDGET, find_step, worker_name
from tasks.core.stages import Context, load_manifest
from tasks.training import start_source

FIRST = worker_name(0)
"""The worker whose artifact tells of the whole study."""


def state(ctx: Context) -> Mapping[str, Any]:
    """What a study depends on beside its inputs.

    Returns:
        Either ``earlier``, the last study's best parameters (None: there was no study); or, if ``tuning.retune_every``
        says that it is too soon to search again, ``reused``: the ``study``, when it was ``searched_at``, and the
        ``manifest`` that tells of its trials. Beside it what `start_source.state` says.
    """
    last, start = _last_study(ctx), start_source.state(ctx)
    if last is None:
        return {**start, "earlier": None}
    if digest_json(_question(last.parts)) == digest_json(question(ctx)):
        return dict(last.parts["outside"])
    if _is_recent(last, ctx):
        told = {"study": last.metrics["study"], "searched_at": _searched_at(last), "manifest": last.path}
        return {**start, "reused": told}
    return {**start, "earlier": last.metrics["best"]}


def question(ctx: Context) -> dict[str, Any]:
    """What makes two studies the same one: code, spec but for the budget, inputs, and what weights begin from."""
    stage = find_step("tune").stage
    parts = {
        "code": stage.code_version,
        "spec": ctx.spec.section("name", *stage.fields),
        "inputs": {name: [manifest.digest for manifest in found] for name, found in ctx.inputs.items()},
        "outside": start_source.state(ctx),
    }
    return _question(parts)


def _question(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Of a stage's key."""
    spec = {name: value for name, value in parts["spec"].items() if name not in BUDGET}
    start = parts["outside"].get("start")
    return {"code": parts["code"], "spec": spec, "inputs": parts["inputs"], "start": start}


def _last_study(ctx: Context) -> Manifest | None:
    path = ctx.registry.partitions(ctx.spec.name, "tune").get(FIRST)
    try:
        return load_manifest(ctx.store, path) if path else None
    except UpdraftError:
        return None


def _is_recent(last: Manifest, ctx: Context) -> bool:
    """Whether new data alone is no reason yet to search again."""
    days = ctx.spec.tuning.retune_every
    if days is None or last.metrics["best"] is None or _question(last.parts)["spec"] != question(ctx)["spec"]:
        return False
    return _now() - datetime.fromisoformat(_searched_at(last)) < timedelta(days=days)


def _searched_at(last: Manifest) -> str:
    reused = last.metrics.get("reused")
    return reused["searched_at"] if reused else last.created_at.isoformat()


def _now() -> datetime:
    return datetime.now(UTC)
