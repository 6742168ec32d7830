"""The window that a drift report is about, and the requests in it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.artifacts import digest_json
from tasks.core.errors import BadInput
from tasks.core.registry import Version
from tasks.core.stages import Context
from tasks.runtime.requests import Record, read_requests


def window(partition: str) -> tuple[datetime, datetime]:
    """The hour (``2026-01-01T05``) or day (``2026-01-01``) that a partition names, UTC: start, and end exclusive.

    Raises:
        BadInput: it names neither.
    """
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d)?", partition):
            raise ValueError
        start = datetime.fromisoformat(partition).replace(tzinfo=UTC)
    except ValueError:
        raise BadInput(f"{partition!r} is no window.", "Give a day (2026-01-01) or an hour (2026-01-01T05).") from None
    return start, start + (timedelta(hours=1) if "T" in partition else timedelta(days=1))


def requests_of(ctx: Context, champion: Version) -> list[Record]:
    """The predictions that the champion made in the partition's window."""
    start, end = window(ctx.partition or "")
    found = read_requests(ctx.spec.name, start, end)
    return [r for r in found if r["kind"] == "prediction" and r["version"] == champion.version]


def state(ctx: Context) -> Mapping[str, Any]:
    """What a drift report depends on beside the spec: the champion, and the requests it answered."""
    champion = ctx.registry.alias(ctx.spec.name)
    requests = requests_of(ctx, champion) if champion else []
    asked = [(r["time"], r["request_id"], r["index"]) for r in requests]
    return {"champion": champion and champion.version, "requests": digest_json(asked)}
