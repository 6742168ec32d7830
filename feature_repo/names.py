"""What the features are called, in Feast and in files: light, for those who only ask whether something stands."""

from tasks.core.artifacts import digest_json
from tasks.core.spec import Project

ENTITY = "entity"
"""The join key: the column that names the labelled thing."""

EVENT_TIME = "event_time"
"""When the thing was so: a join takes the newest value that is not later than the label."""

KNOWN_AT = "known_at"
"""When it became known: no label of an earlier time is joined with it."""

CREATED_AT = "created_at"
"""When the platform had it: of two values for one event time and one known time, the later stands."""


def version(spec: Project) -> str:
    """Eight hexadecimal digits of what the columns of a feature row depend on.

    Features of another spec get views, tables and folders of their own: no reader of one meets values of the other.
    """
    return digest_json(spec.section("features", "image", "source.columns"))[:8]


def view_name(spec: Project) -> str:
    """The view of the feature groups, as it is looked up online.

    Short: with the project's name before it, it is a table of PostgreSQL, which cuts names at 63 characters.
    """
    return f"features_{version(spec)}"


def inputs_name(spec: Project) -> str:
    """The view of what a row's features were computed from; it is offline only."""
    return f"inputs_{version(spec)}"


def offline_folder(spec: Project) -> str:
    """Where the project's dates stand, relative to the store."""
    return f"{spec.name}/offline/{version(spec)}"
