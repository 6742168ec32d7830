"""The Stage protocol, the content-addressed cache, and the one function that executes a stage.

A stage is a function of a `Context` that writes files into ``context.out`` and returns an `Outcome`. Its key digests
its code, the spec fields it declares, its inputs and whatever outside state it declares (`tasks.core.pipeline` lists
them all); an artifact that stands under that key is a HIT, and nothing runs: not even the stage's libraries are
imported. Otherwise the stage works in a scratch folder that is published with one rename.
"""

import fcntl
import importlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.artifacts import MANIFEST, Manifest, Rows, describe_files, digest_json
from tasks.core.code import code_version
from tasks.core.errors import Refused, UpdraftError
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.store import Store

log = logging.getLogger("updraft")

Inputs = Mapping[str, Sequence[Manifest]]


@dataclass(frozen=True)
class Outcome:
    """What a stage reports beside its files.

    Attributes:
        rows: the row balance.
        reasons: reason code to the number of rows quarantined for it.
        metrics: small JSON values worth seeing without opening a file.
    """

    rows: Rows = field(default_factory=Rows)
    reasons: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Everything a stage may touch.

    Attributes:
        partition: the date (``2026-01-01``) or worker (``worker-00``) this call is for; None where a stage has none.
        key: this call's cache key.
        out: the empty folder that becomes the artifact.
        work: a folder that survives a killed attempt, for checkpoints; removed once the artifact is published.
        stopped: asked by long work that holds processes of its own; True when the caller wants it to end.
        forced: the caller wants all of it done anew in this run.
    """

    spec: Project
    inputs: Inputs
    store: Store
    registry: Registry
    partition: str | None
    run_id: str
    stopped: Callable[[], bool] = lambda: False
    forced: bool = False
    key: str = ""
    out: Path = Path()
    work: Path = Path()

    def input(self, name: str) -> Manifest:
        """The only manifest of the input ``name``."""
        (manifest,) = self.inputs[name]
        return manifest

    def file(self, manifest: Manifest, name: str) -> Path:
        """A local path of one of an input's files (or sub-folders)."""
        return self.store.fetch(f"{manifest.folder}/{name}")


@dataclass(frozen=True)
class Stage:
    """What the cache has to know of a stage. Its code, and the libraries that brings in, is loaded when it has to work.

    Attributes:
        target: the function, as ``package.module:function``.
        fields: dotted spec fields that its result depends on.
        reproducible: the same key gives the same bytes everywhere. Then later keys are made from the bytes, and a
            change that leaves them alone stops there; otherwise later keys are made from this key.
        outside: function, named likewise, of the state beyond spec and inputs that the result depends on (files in the
            source, the champion), as JSON. It is asked before every look into the cache: its module must be light.
        intact: function, named likewise, of a context and a manifest: whether what the stage did beside its artifact
            (a quarantine file, rows in the online store) still stands. If not, an artifact that stands is no HIT.
    """

    name: str
    target: str
    fields: tuple[str, ...] = ()
    reproducible: bool = True
    outside: str | None = None
    intact: str | None = None

    @property
    def code_version(self) -> str:
        """Digest of the stage's module and of the project modules it imports; comments and docstrings do not count."""
        return code_version(self.target.partition(":")[0])

    def work(self, context: Context) -> Outcome:
        """Does what the stage is there for."""
        return _load(self.target)(context)

    def state(self, context: Context) -> Mapping[str, Any]:
        """The outside state as it is now."""
        return _load(self.outside)(context) if self.outside else {}

    def stands(self, context: Context, manifest: Manifest) -> bool:
        """Whether the effects of an artifact that stands do, too."""
        return _load(self.intact)(context, manifest) if self.intact else True


def _load(target: str) -> Callable[..., Any]:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def execute(
    stage: Stage,
    spec: Project,
    inputs: Inputs,
    *,
    store: Store,
    registry: Registry,
    partition: str | None = None,
    run_id: str = "local",
    force: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    missed: Callable[[], None] = lambda: None,
) -> Manifest:
    """Gives the stage's artifact: the one that stands (HIT), or a new one, published whole (MISS).

    Safe to call again after a kill, and at the same time from several processes of a machine: one of them works.

    Args:
        force: work even if the artifact stands, under a key of this run's own.
        stopped: see `Context`.
        missed: called before the stage works, if it has to.

    Raises:
        UpdraftError: the stage failed; nothing of it was published.
    """
    started = time.monotonic()
    context = Context(spec, inputs, store, registry, partition, run_id, stopped, force)
    parts = _parts(stage, context, forced_by=run_id if force else None)
    key = digest_json(parts)
    with _only_one(f"{spec.name}-{stage.name}-{key}"):
        manifest, because = _look(stage, context, parts, key)
        if manifest is None:
            log.info("%s: MISS %s (%s)", " ".join(filter(None, (stage.name, partition))), key[:12], because)
            missed()
            manifest = _produce(stage, context, parts, key, because, started)
        else:
            seconds = time.monotonic() - started
            manifest = manifest.model_copy(update={"cache": "HIT", "because": because, "seconds": seconds})
    registry.record_run(manifest, run_id)
    log.info("%s", manifest.line())
    return manifest


def foresee(
    stage: Stage, spec: Project, inputs: Inputs, *, store: Store, registry: Registry, partition: str | None = None
) -> tuple[Manifest | None, str]:
    """What `execute` would do: the manifest that stands, or None, and why. Nothing runs and nothing is recorded."""
    context = Context(spec, inputs, store, registry, partition, "foreseen")
    parts = _parts(stage, context, forced_by=None)
    return _look(stage, context, parts, digest_json(parts))


def load_manifest(store: Store, path: str) -> Manifest:
    """The manifest published at ``path`` (relative to the store).

    Raises:
        UpdraftError: nothing stands there any more.
    """
    try:
        return Manifest.model_validate_json(store.read_bytes(path))
    except FileNotFoundError:
        raise UpdraftError(f"{path} is not in the store {store.uri}.", "Run the stage that makes it again.") from None


def _produce(
    stage: Stage, context: Context, parts: Mapping[str, Any], key: str, because: str, started: float
) -> Manifest:
    name = f"{context.spec.name}-{stage.name}-{key[:32]}"
    work = settings().home / "work" / name
    work.mkdir(parents=True, exist_ok=True)
    out = context.store.scratch(name)
    ready = Context(**{**vars(context), "key": key, "out": out, "work": work})
    outcome = stage.work(ready)
    if outcome.rows.received != outcome.rows.published + outcome.rows.quarantined:
        raise Refused(f"{stage.name}: rows do not add up: {outcome.rows}.", "Report this: a stage lost rows.")
    outputs = describe_files(out)
    content = {"outputs": {n: o.digest for n, o in outputs.items()}, "rows": outcome.rows.model_dump()}
    manifest = Manifest(
        project=context.spec.name,
        stage=stage.name,
        partition=context.partition,
        key=key,
        digest=digest_json(content) if stage.reproducible else key,
        because=because,
        inputs={n: tuple(m.path for m in manifests) for n, manifests in context.inputs.items()},
        outputs=outputs,
        rows=outcome.rows,
        reasons=dict(sorted(outcome.reasons.items())),
        metrics=outcome.metrics,
        seconds=time.monotonic() - started,
        code_version=parts["code"],
        parts=parts,
    )
    (out / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    if not context.store.publish(out, manifest.folder):
        standing = load_manifest(context.store, manifest.path)
        manifest = standing.model_copy(update={"because": because, "seconds": manifest.seconds})
    shutil.rmtree(work, ignore_errors=True)
    return manifest


def _parts(stage: Stage, context: Context, forced_by: str | None) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "stage": stage.name,
        "partition": context.partition,
        "code": stage.code_version,
        "spec": context.spec.section("name", *stage.fields),
        "inputs": {name: [m.digest for m in manifests] for name, manifests in context.inputs.items()},
        "outside": dict(stage.state(context)),
    }
    return parts | {"forced_by": forced_by} if forced_by else parts


def _look(stage: Stage, context: Context, parts: Mapping[str, Any], key: str) -> tuple[Manifest | None, str]:
    """The manifest that stands under the key, or None, and why."""
    manifest = _standing(context.store, f"{context.spec.name}/{stage.name}/{key}")
    if manifest is None:
        return None, _why_miss(parts, context.registry, context.store, context.spec.name, stage.name, context.partition)
    if not stage.stands(context, manifest):
        return None, "what it did beside its artifact is gone"
    return manifest, f"code, spec and {'inputs' if parts['inputs'] else 'source'} are unchanged"


def _standing(store: Store, folder: str) -> Manifest | None:
    """The whole artifact at ``folder``; one with a file missing is removed, to be made again."""
    if not store.exists(f"{folder}/{MANIFEST}"):
        return None
    manifest = load_manifest(store, f"{folder}/{MANIFEST}")
    there = set(store.list(folder))
    lost = [name for name in manifest.outputs if f"{folder}/{name}" not in there]
    if not lost:
        return manifest
    log.warning("%s lost %s: making it again", folder, ", ".join(lost[:3]))
    store.delete(folder)
    return None


def _why_miss(
    parts: Mapping[str, Any], registry: Registry, store: Store, project: str, stage: str, partition: str | None
) -> str:
    path = registry.partitions(project, stage).get(partition or "")
    if path is None:
        return "first run"
    if "forced_by" in parts:
        return "forced"
    if not store.exists(path):
        return "the earlier artifact is gone"
    changes = list(_differences(load_manifest(store, path).parts, parts))
    return "; ".join(changes[:4]) or "the earlier artifact was damaged"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if old.get("code") != new["code"]:
        yield "the stage's code changed"
    for section, label in (("spec", ""), ("inputs", "input "), ("outside", "")):
        before, after = _flat(old.get(section, {})), _flat(new[section])
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield f"{label}{name} changed" + ("" if section == "inputs" else _shown(before, after, name))


def _shown(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> str:
    text = f": {before.get(name)} -> {after.get(name)}"
    return text if len(text) < 60 else ""


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return flat


@contextmanager
def _only_one(name: str) -> Iterator[None]:
    """One attempt per key and machine at a time; the kernel frees the lock of a killed one."""
    folder = settings().home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
