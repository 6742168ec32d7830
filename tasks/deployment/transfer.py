"""A version as one file, out of one installation and into another.

The file is a ZIP: ``version.json`` (the version's details and the manifests of its lineage) and the files of its
package and card under ``files/``. The digest in ``version.json`` covers all that stands there, and so the digests of
all files: one that was damaged, changed or exchanged is refused. It tells nothing of who made the file.
"""

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.artifacts import MANIFEST, Manifest, digest_file, digest_json
from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.files import checked
from tasks.core.lineage import faults, keep, lineage
from tasks.core.registry import Registry, Version
from tasks.core.store import Store

_FORMAT = 1
_VERSION = "version.json"
_NO_ZIP = (zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Moved:
    """A version that left or came.

    Attributes:
        digest: of all that the file says; both installations' audit logs name it.
        origin: its number where it was exported.
        is_new: whether it was not registered here before.
    """

    version: Version
    digest: str
    origin: int
    is_new: bool = False


def export_version(registry: Registry, store: Store, version: Version, target: Path, *, who: str) -> Moved:
    """Writes a version's file, and an audit row.

    Raises:
        BadInput: there is a file already, or the folder cannot be written, or the version's package is damaged or gone.
    """
    if target.exists():
        raise BadInput(f"There is a file {target} already.", "Name another one, or remove it.")
    wanted = [path for path in (version.package, version.details.get("card")) if path]
    manifests = lineage(store, *wanted)
    carried = [manifest.path for manifest in manifests if manifest.path in wanted]
    if version.package not in carried:
        raise BadInput(f"{version.package} is not in the store {store.uri}.", "Nothing is left to export.")
    told = {
        "format": _FORMAT,
        "version": version.version,
        "project": version.project,
        "details": version.details,
        "package": version.package,
        "carried": carried,
        "lineage": [json.loads(manifest.to_json()) for manifest in manifests],
    }
    digest = digest_json(told)
    aside = target.with_name(f"{target.name}.partial")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(_VERSION, json.dumps(told | {"digest": digest}, indent=2))
            for manifest in (each for each in manifests if each.path in carried):
                _write_files(file, store, manifest)
        os.replace(aside, target)
    except OSError as error:
        raise BadInput(f"{target} cannot be written: {error.strerror}.", "Name a file in a folder that can.") from None
    finally:
        aside.unlink(missing_ok=True)
    details = {"version": version.version, "digest": digest, "why": f"exported to {target.name}"}
    registry.audit(version.project, "export", who, details)
    return Moved(version, digest, version.version)


def import_version(registry: Registry, store: Store, source: Path, *, who: str) -> Moved:
    """Registers the version in a file under this registry's next number; no alias moves.

    Raises:
        BadInput: the file is none of ours, damaged, or of a project that is unknown here.
    """
    try:
        with zipfile.ZipFile(source) as file:
            told = json.loads(file.read(_VERSION))
            digest = told.pop("digest")
            if told["format"] != _FORMAT or digest != digest_json(told):
                raise ValueError(f"{_VERSION} is not as it was written")
            manifests = [Manifest.model_validate(each) for each in told["lineage"]]
            _check(told, manifests)
            unpacked = [_unpack(file, store, each) for each in manifests if each.path in told["carried"]]
    except FileNotFoundError:
        raise BadInput(f"There is no file {source}.", "Name a file that updraft models export wrote.") from None
    # What zipfile raises for a damaged header is not of one family: RuntimeError for one that claims to be encrypted.
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, *_NO_ZIP) as error:
        fix = "Export the version again, and copy the file whole."
        raise BadInput(f"{source} is no whole export of a version: {error}.", fix) from None
    for manifest, folder in unpacked:
        keep(store, manifest.path, manifests)
        store.publish(folder, manifest.folder)
    known = {version.key for version in registry.versions(told["project"])}
    package = next(each for each in manifests if each.path == told["package"])
    why = f"imported from {source.name}, {digest[:12]}: version {told['version']} there"
    version = registry.register(package.project, package.key, package.path, _details(told, digest), who=who, why=why)
    return Moved(version, digest, told["version"], package.key not in known)


def _details(told: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """The version's details, without the numbers of versions that say something else here."""
    details = told["details"]
    origin = {"version": told["version"], "judged_against": details.get("judged_against"), "digest": digest}
    origin["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    return {**details, "judged_against": None, "imported": origin}


def _write_files(file: zipfile.ZipFile, store: Store, manifest: Manifest) -> None:
    for name, output in manifest.outputs.items():
        path = f"{manifest.folder}/{name}"
        try:
            local = store.fetch(path)
        except FileNotFoundError:
            raise BadInput(f"{path} is not in the store {store.uri}.", "Run the stage that makes it again.") from None
        if digest_file(local) != output.digest:
            raise BadInput(f"{path} is damaged: its digest is not the manifest's.", "Run its stage again.")
        file.write(local, f"files/{path}")


def _check(told: Mapping[str, Any], manifests: list[Manifest]) -> None:
    """Raises ValueError unless the parts fit together and no path leads out of the store; BadInput: no such project."""
    load_project(told["project"])
    for fault in faults(manifests):
        raise ValueError(fault)
    carried = [manifest for manifest in manifests if manifest.path in told["carried"]]
    if told["package"] not in told["carried"] or len(carried) != len(told["carried"]):
        raise ValueError("the manifest of an artifact is missing")
    for manifest in carried:
        if manifest.project != told["project"] or "/" in manifest.stage + manifest.key:
            raise ValueError(f"{manifest.path} is no artifact of {told['project']}")
        for name in (manifest.folder, *manifest.outputs):
            checked(name)


def _unpack(file: zipfile.ZipFile, store: Store, manifest: Manifest) -> tuple[Manifest, Path]:
    """An artifact and the folder that it was unpacked to, its files checked; ready to be published."""
    folder = store.scratch(f"import-{manifest.stage}-{manifest.key[:32]}")
    for name, output in manifest.outputs.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open(f"files/{manifest.folder}/{name}") as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        if digest_file(target) != output.digest:
            shutil.rmtree(folder)
            raise ValueError(f"{name} is not as it was written")
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest, folder
