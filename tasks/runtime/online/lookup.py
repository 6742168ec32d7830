"""Looking an entity's features up, with their age: no expired value passes for a present one.

Feast itself answers whatever is online, however old. Reads need no registry, and so no folder of the machine that
wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from tasks.core.errors import Refused, UpdraftError
from tasks.core.spec import Online
from tasks.runtime.online import open_online
from tasks.runtime.online.store import Stored, View


@dataclass(frozen=True)
class Found:
    """One entity's newest features.

    Attributes:
        values: the group to float32 (F,), or to an object array (F,) of str; None where the row had none.
        event_time: when they were so, UTC (SQLite keeps whole seconds).
        expired: older than ``online.ttl_hours``; only where ``online.expired`` is ``flag``.
    """

    entity: str
    values: Mapping[str, np.ndarray | None]
    event_time: datetime
    expired: bool = False


class Expired(Refused):
    """An entity's features are older than the project allows.

    Args:
        entity: whose.
        hours: their age.
    """

    def __init__(self, project: str, entity: str, hours: float, allowed: float) -> None:
        message = f"{project}: the features of entity {entity!r} have expired: {hours:.1f} hours old, allowed are"
        fix = f"Materialize newer data of {project}, raise online.ttl_hours, or set online.expired."
        super().__init__(f"{message} {allowed:g}.", fix)
        self.entity, self.hours, self.allowed = entity, hours, allowed


class NothingOnline(UpdraftError):
    """The online store answers, and holds nothing of a project's features."""

    def __init__(self, project: str) -> None:
        message = f"{project}: the online store holds no features of this spec."
        super().__init__(message, f"Restore them from the offline store: updraft backfill {project} --local")


def look_up(view: View, policy: Online, entities: Sequence[str]) -> list[Found | None]:
    """Each entity's newest features, in order; None for one that is unknown, or expired where that counts as such.

    Raises:
        Expired: a value has expired, and the policy is to reject it.
        NothingOnline: the store holds nothing of this view, of whatever entity.
        UpdraftError: the store cannot be reached.
    """
    if not entities:
        return []
    online, now = open_online(view.project), datetime.now(UTC)
    read = online.read(view, entities)
    if not any(read) and not online.marks(view):
        raise NothingOnline(view.project)
    return [
        _judged(view, policy, entity, one, now) if one else None for entity, one in zip(entities, read, strict=True)
    ]


def _judged(view: View, policy: Online, entity: str, stored: Stored, now: datetime) -> Found | None:
    age, hours = now - stored.event_time, policy.ttl_hours
    expired = hours is not None and age > timedelta(hours=hours)
    if expired and policy.expired == "reject":
        assert hours is not None
        raise Expired(view.project, entity, age / timedelta(hours=1), hours)
    if expired and policy.expired == "default":
        return None
    return Found(entity, {group: stored.values.get(group) for group in view.features}, stored.event_time, expired)
