"""Entities by their ids: their newest features are looked up in Feast's online store, none that has expired."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import numpy as np

from serving.errors import Problem
from tasks.core.errors import UpdraftError
from tasks.runtime.online.lookup import Expired, Found, NothingOnline, look_up
from tasks.runtime.online.store import View
from tasks.runtime.predictor import Inputs, Predictor, Signature

log = logging.getLogger("updraft.serving")

_NAMED = 5
"""Unknown entities that a message names."""


@dataclass(frozen=True)
class Entities:
    """What was found of the entities that a request names, in its order."""

    found: Sequence[Found]

    def __len__(self) -> int:
        """See `serving.given.Given`."""
        return len(self.found)

    def prepare(self, predictor: Predictor) -> Inputs:
        """See `serving.given.Preparable`."""
        # Brings pyarrow, which the endpoint of images does without.
        from tasks.runtime.extractors import widths
        from tasks.runtime.table_features import is_text

        features = predictor.signature.features
        sizes = widths(features, None)
        missing = {
            f.group: np.full(sizes[f.group], "", object) if is_text(f) else np.full(sizes[f.group], np.nan, np.float32)
            for f in features
        }
        rows = [{group: _or(each.values[group], missing[group]) for group in missing} for each in self.found]
        return Inputs(None, {group: np.stack([row[group] for row in rows]) for group in missing})

    def at_once(self, predictor: Predictor, most: int) -> Inputs | None:
        """See `serving.given.Preparable`."""
        return self.prepare(predictor) if len(self) <= most else None

    def about(self, index: int) -> Mapping[str, Any]:
        """The entity, when its features were so, and whether that is longer ago than the project allows."""
        each = self.found[index]
        return {"entity": each.entity, "event_time": each.event_time.isoformat(), "expired": each.expired}


async def find_entities(signature: Signature, entities: Sequence[str]) -> Entities:
    """Looks the entities up, in a thread.

    Raises:
        Problem: 404 one is unknown, or nothing is online, 422 the features of one have expired or the model needs more
            than features, 503 the online store does not answer.
    """
    project = signature.project
    if signature.image is not None:
        message = f"The model of {project} looks at pixels, and the online store holds features alone. Send the images."
        raise Problem(422, "images_wanted", message)
    if not signature.view:
        message = f"This version of {project} was packaged without its feature view. Send rows, or train it again."
        raise Problem(422, "rows_wanted", message)
    view = View(project, signature.view, tuple(feature.group for feature in signature.features))
    try:
        found = await anyio.to_thread.run_sync(look_up, view, signature.online, entities)
    except Expired as error:
        raise _stale(error) from None
    except NothingOnline as error:
        raise Problem(404, "nothing_online", f"{error.message} {error.fix}, or send rows.") from None
    except UpdraftError as error:
        log.warning("%s: entities cannot be looked up. %s", project, error)
        message = f"The features of {project} cannot be looked up at present; the endpoint's log says why. Send rows."
        raise Problem(503, "online_store_unavailable", message, retry_after=5) from None
    known = [each for each in found if each is not None]
    if len(known) < len(entities):
        raise _unknown(signature, [name for name, each in zip(entities, found, strict=True) if each is None])
    return Entities(known)


def _or(value: np.ndarray | None, missing: np.ndarray) -> np.ndarray:
    return missing if value is None else value


def _unknown(signature: Signature, names: Sequence[str]) -> Problem:
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    hours = signature.online.ttl_hours
    young = f", or none of the last {hours:g} hours" if hours and signature.online.expired == "default" else ""
    message = f"The online store has no features of entity {shown}{more}{young}. Materialize them, or send rows."
    return Problem(404, "unknown_entity", message)


def _stale(error: Expired) -> Problem:
    message = f"The features of entity {error.entity!r} are {error.hours:.1f} hours old, allowed are {error.allowed:g}."
    return Problem(422, "stale_entity", f"{message} Materialize newer ones, or send the row itself.")
