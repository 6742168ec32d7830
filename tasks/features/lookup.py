"""Looking up what a spec's entities have online, as ``updraft lookup`` shows it."""

from collections.abc import Sequence

from tasks.core.spec import Project
from tasks.features.online import view_of
from tasks.runtime.online import lookup
from tasks.runtime.online.lookup import Found


def look_up(spec: Project, entities: Sequence[str]) -> list[Found | None]:
    """Each entity's newest features; for the answer and the errors see `tasks.runtime.online.lookup.look_up`."""
    return lookup.look_up(view_of(spec), spec.online, entities)
