"""What an artifact was made from, back to the digests of the raw files.

Every key digests the digests of the inputs (`tasks.core.stages`), so the manifests of a lineage prove one another: from
the package to the source there is no link that could be exchanged.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from tasks.core.artifacts import Manifest, digest_json
from tasks.core.errors import UpdraftError
from tasks.core.stages import load_manifest
from tasks.core.store import Store


def lineage(store: Store, *paths: str) -> list[Manifest]:
    """The manifests at ``paths`` and those of all that they were made from: each once, after its inputs.

    One that is no longer in the store is left out (`missing`). An artifact that was imported has its lineage beside it
    (`keep`), of stages that never ran here.
    """
    imported = {manifest.path: manifest for path in paths for manifest in _kept(store, path)}
    found: dict[str, Manifest] = {}
    seen: set[str] = set()

    def walk(path: str) -> None:
        if path in seen:
            return
        seen.add(path)
        try:
            manifest = imported.get(path) or load_manifest(store, path)
        except UpdraftError:
            return
        for inputs in manifest.inputs.values():
            for each in inputs:
                walk(each)
        found[path] = manifest

    for path in paths:
        walk(path)
    return list(found.values())


def missing(manifests: Sequence[Manifest]) -> list[str]:
    """Paths of inputs that a lineage lacks."""
    there = {manifest.path for manifest in manifests}
    named = [path for manifest in manifests for paths in manifest.inputs.values() for path in paths]
    return [path for path in dict.fromkeys(named) if path not in there]


def faults(manifests: Iterable[Manifest]) -> Iterator[str]:
    """In words, each manifest of a lineage whose key does not follow from what it says that it was made from."""
    digests: dict[str, str] = {}
    for manifest in manifests:
        told = manifest.parts.get("inputs", {})
        made_from = {
            name: [digests[path] for path in paths]
            for name, paths in manifest.inputs.items()
            if all(path in digests for path in paths)
        }
        if digest_json(manifest.parts) != manifest.key:
            yield f"{manifest.path}: its key is not that of its parts"
        elif any(told.get(name) != known for name, known in made_from.items()):
            yield f"{manifest.path}: it was made from other inputs than those that it names"
        digests[manifest.path] = manifest.digest


def keep(store: Store, path: str, manifests: Iterable[Manifest]) -> None:
    """Puts the lineage of the imported artifact whose manifest is at ``path`` beside it."""
    store.put_new(_beside(path), json.dumps([json.loads(manifest.to_json()) for manifest in manifests]).encode())


def _kept(store: Store, path: str) -> list[Manifest]:
    beside = _beside(path)
    return (
        [Manifest.model_validate(each) for each in json.loads(store.read_bytes(beside))] if store.exists(beside) else []
    )


def _beside(path: str) -> str:
    project, stage, key, _ = path.split("/")
    return f"{project}/lineage/{stage}-{key}.json"
