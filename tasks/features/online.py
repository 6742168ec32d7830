"""What is online of a spec: the view that its features stand in, and whether a date's values still stand.

Light: a look into the cache asks for nothing but the marks.
"""

from feature_repo.names import offline_folder, view_name
from tasks.core.artifacts import Manifest
from tasks.core.spec import Project
from tasks.core.stages import Context
from tasks.runtime.online import open_online
from tasks.runtime.online.store import View

OFFLINE = "offline.parquet"
"""The date's file in the artifact of `materialize`."""


def view_of(spec: Project) -> View:
    """The view of the spec's feature groups."""
    return View(spec.name, view_name(spec), tuple(feature.group for feature in spec.features))


def stands(context: Context, manifest: Manifest) -> bool:
    """Whether the date's values are still those of this artifact, in the offline and in the online store."""
    spec, day = context.spec, manifest.partition or ""
    if not context.store.exists(f"{offline_folder(spec)}/date={day}.parquet"):
        return False
    return open_online(spec.name).marks(view_of(spec)).get(day) == manifest.outputs[OFFLINE].digest
