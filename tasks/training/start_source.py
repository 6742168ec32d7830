"""Which weights a model starts from, and where they stand in the store; imports no ML library.

``champion`` is the champion of the moment: whoever asks for it gets a new model each time that another one has been
promoted, this project's own included.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.core.artifacts import digest_file
from tasks.core.errors import BadInput
from tasks.core.registry import Version
from tasks.core.settings import settings
from tasks.core.stages import Context

SUFFIXES = (".keras", ".weights.h5")


def state(ctx: Context) -> Mapping[str, Any]:
    """What a fit depends on beside its inputs: the version that ``model.start`` names, or the digest of its file.

    Raises:
        BadInput: there is no such version or file.
    """
    start = ctx.spec.model.start
    if start is None:
        return {}
    if start.weights is not None:
        return {"start": f"weights {digest_file(_file(start.weights))}"}
    version = _version(ctx)
    # The number alone would not do: a new registry over an old store counts from 1 again.
    return {"start": f"{version.project} version {version.version} ({_candidate(version)[:12]})" if version else None}


def stored(ctx: Context) -> str | None:
    """Path in the store of what ``model.start`` names; a file is put there, for ranks on other hosts and for retries.

    Returns:
        None without ``model.start``, and where the project has no champion to start from yet.

    Raises:
        BadInput: there is no such version or file.
    """
    start = ctx.spec.model.start
    if start is None:
        return None
    if start.weights is not None:
        return _put(ctx, _file(start.weights))
    version = _version(ctx)
    if version is None:
        return None
    path = f"{version.project}/train/{_candidate(version)}/model.keras"
    if not ctx.store.exists(path):
        message = f"model.start: the weights of {version.project} version {version.version} are not in the store."
        raise BadInput(message, f"They stood at {path}; name another version, or a weights file.")
    return path


def fetch(ctx: Context) -> Path | None:
    """A local path of `stored`."""
    path = stored(ctx)
    return ctx.store.fetch(path) if path else None


def _version(ctx: Context) -> Version | None:
    """None: this project has no champion yet; its first model cannot start from one."""
    start = ctx.spec.model.start
    assert start is not None
    project = start.project or ctx.spec.name
    if start.version != "champion":
        versions = {version.version: version for version in ctx.registry.versions(project)}
        if start.version not in versions:
            known = ", ".join(map(str, versions)) or "none"
            raise BadInput(f"model.start: {project} has no version {start.version}.", f"Versions there are: {known}.")
        return versions[start.version]
    champion = ctx.registry.alias(project)
    if champion is None and project != ctx.spec.name:
        raise BadInput(f"model.start: {project} has no champion.", f"Train and promote {project} first.")
    return champion


def _candidate(version: Version) -> str:
    """The key of the training that made it."""
    return str(version.details["candidate"])


def _file(name: str) -> Path:
    path = settings().home / name
    if not name.endswith(SUFFIXES):
        raise BadInput(f"model.start.weights: {name} is no {' or '.join(SUFFIXES)} file.", "Save it with Keras 3.")
    if not path.is_file():
        raise BadInput(f"model.start.weights: there is no file {path}.", "Put it there, or name another one.")
    return path


def _put(ctx: Context, file: Path) -> str:
    suffix = next(suffix for suffix in SUFFIXES if file.name.endswith(suffix))
    path = f"{ctx.spec.name}/weights/{digest_file(file)}{suffix}"
    if not ctx.store.exists(path):
        ctx.store.put_new(path, file.read_bytes())
    return path
