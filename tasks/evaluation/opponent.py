"""Whom a candidate is judged against."""

from collections.abc import Mapping
from typing import Any

from tasks.core.registry import Version
from tasks.core.stages import Context


def opponent(ctx: Context) -> Version | None:
    """The champion that this candidate is judged against, if any.

    Once the candidate itself is champion, it is the one that it was judged against then: the same question asked again
    has the same answer.
    """
    champion = ctx.registry.alias(ctx.spec.name)
    if champion is None or champion.details["candidate"] != ctx.input("train").key:
        return champion
    earlier = champion.details["judged_against"]
    return next((version for version in ctx.registry.versions(ctx.spec.name) if version.version == earlier), None)


def state(ctx: Context) -> Mapping[str, Any]:
    """What an evaluation depends on beside its inputs: whom the candidate meets."""
    champion = opponent(ctx)
    # The number alone would not do: a new registry over an old store counts from 1 again.
    return {"champion": f"version {champion.version} ({champion.key[:12]})" if champion else None}
