"""Looking an entity's features up, with their age: no expired value passes for a present one.

Feast itself answers whatever is online, however old. Reads go straight to the online store: they need no registry, and
so no folder of the machine that wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.infra.online_stores.online_store import OnlineStore as FeastOnlineStore
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.definitions import define
from tasks.core.errors import Refused, UpdraftError
from tasks.core.spec import Project
from tasks.features.feature_store import repo_config
from tasks.features.newest import entity_key
from tasks.features.online import OnlineStore as Online
from tasks.features.online import View, open_online


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


def look_up(spec: Project, entities: Sequence[str]) -> list[Found | None]:
    """Each entity's newest features, in order; None for one that is unknown, or expired where that counts as such.

    Raises:
        Refused: a value has expired, and the spec's policy is to reject it; names the entity and its age.
        UpdraftError: the online store cannot be reached, or holds nothing of this project and spec.
    """
    if not entities:
        return []
    online, now = open_online(spec.name), datetime.now(UTC)
    read = _read(spec, online, entities)
    if not any(read) and not online.marks(View.of(spec)):
        raise _lost(spec)
    return [one and _judged(spec, entity, *one, now) for entity, one in zip(entities, read, strict=True)]


Read = tuple[datetime, Mapping[str, Value]] | None


def _read(spec: Project, online: Online, entities: Sequence[str]) -> list[Read]:
    try:
        with online.reaching():
            return _reader(spec, online).read(entities)
    except UpdraftError:
        # A server that was started again has closed the connection that we hold.
        if _readers.pop(_place(spec, online), None) is None:
            raise
    with online.reaching():
        return _reader(spec, online).read(entities)


@dataclass(frozen=True)
class _Reader:
    store: FeastOnlineStore
    config: RepoConfig
    view: FeatureView

    def read(self, entities: Sequence[str]) -> list[Read]:
        keys = [entity_key(entity) for entity in entities]
        found = self.store.online_read(self.config, self.view, keys, [field.name for field in self.view.features])
        return [(at, values) if at and values and _is_there(at, values) else None for at, values in found]


def _is_there(at: datetime, values: Mapping[str, Value]) -> bool:
    """Of an entity that it does not have, Redis says 1970 and empty values."""
    return at.timestamp() != 0 or any(value.WhichOneof("val") for value in values.values())


_readers: dict[str, _Reader] = {}
"""Open connections, by what they lead to."""


def _reader(spec: Project, online: Online) -> _Reader:
    place = _place(spec, online)
    if place not in _readers:
        if not online.marks(View.of(spec)):
            raise _lost(spec)
        config = repo_config(spec.name, Path(), online.feast())
        _readers[place] = _Reader(get_online_store_from_config(config.online_store), config, define(spec, "-").features)
    return _readers[place]


def _place(spec: Project, online: Online) -> str:
    return f"{View.of(spec).table} {online.identity()}"


def _judged(spec: Project, entity: str, at: datetime, values: Mapping[str, Value], now: datetime) -> Found | None:
    event_time = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    age, hours = now - event_time, spec.online.ttl_hours
    expired = hours is not None and age > timedelta(hours=hours)
    if expired and spec.online.expired == "reject":
        message = f"{spec.name}: the features of entity {entity!r} have expired: {age / timedelta(hours=1):.1f} hours"
        fix = f"Materialize newer data of {spec.name}, raise online.ttl_hours, or set online.expired."
        raise Refused(f"{message} old, allowed are {hours:g}.", fix)
    if expired and spec.online.expired == "default":
        return None
    return Found(entity, {group: _array(values.get(group)) for group in _groups(spec)}, event_time, expired)


def _groups(spec: Project) -> list[str]:
    return [feature.group for feature in spec.features]


def _array(value: Value | None) -> np.ndarray | None:
    if value is None or not value.WhichOneof("val"):
        return None
    if value.HasField("float_list_val"):
        return np.array(value.float_list_val.val, np.float32)
    return np.array(value.string_list_val.val, object)


def _lost(spec: Project) -> UpdraftError:
    message = f"{spec.name}: the online store holds no features of this spec."
    return UpdraftError(message, f"Restore them from the offline store: updraft backfill {spec.name} --local")
