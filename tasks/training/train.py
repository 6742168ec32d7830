"""Training: the best trial's model, or the best trials' as an ensemble, fitted by Horovod ranks.

Each model is a job of its own with checkpoints of its own in the store, so a retry, on whichever host, goes on in the
middle of the model that was under way.
"""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import horovod.tensorflow as hvd
import keras

from tasks.core.artifacts import MANIFEST, Manifest
from tasks.core.config import replace
from tasks.core.errors import RankFailed, StageFailed
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome
from tasks.core.store import open_store
from tasks.models import ensemble
from tasks.training import curves, start_source
from tasks.training.checkpoint import Checkpoints, History
from tasks.training.jobs.launcher import launch
from tasks.training.loop import EVENTS, Job, Log, fit, weights_digest
from tasks.training.stopping import kept_entry

log = logging.getLogger("updraft")

MODEL = "model.keras"


@dataclass(frozen=True)
class Fitted:
    """What one job made.

    Attributes:
        trial: of the study: ``number``, ``params``, ``value``, ``loss``.
        spec: the project, the trial's parameters applied.
        digest: of the weights, the same on every rank.
        model: a ``.keras`` file's bytes.
    """

    trial: Mapping[str, Any]
    spec: Project
    digest: str
    history: History
    model: bytes

    @property
    def name(self) -> str:
        """In files that tell of several."""
        return f"trial {self.trial['number']}"


def train(ctx: Context) -> Outcome:
    """Writes ``model.keras``, ``history.json``, ``params.json`` and ``curves.png``.

    Raises:
        RankFailed: a rank failed or the time ran out, or the ranks ended with different weights.
        StageFailed: the study has no trial to take parameters from.
        BadInput: what ``model.start`` names is not there.
    """
    _sweep(ctx)
    start = start_source.stored(ctx)
    trials = best_trials(ctx.inputs["tune"], ctx.spec.training.ensemble)
    members = [_fit(ctx, trial, start) for trial in trials]
    digest = _write_model(ctx, members)
    best = members[0]
    several = len(members) > 1
    histories, params = ({each.name: value(each) for each in members} for value in (_history, _params))
    _write_json(ctx, "history.json", histories if several else best.history)
    _write_json(ctx, "params.json", params if several else {"trial": best.trial["number"], "params": _params(best)})
    curves.draw(best.history, ctx.out / "curves.png")
    for each in members[1:]:
        curves.draw(each.history, ctx.out / f"curves of {each.name}.png".replace(" ", "_"))
    metrics = {"weights_digest": digest, "ranks": ctx.spec.training.ranks, **_measures(best)}
    return Outcome(metrics=metrics | ({"members": [_measures(each) for each in members]} if several else {}))


def best_trials(workers: Sequence[Manifest], count: int) -> list[dict[str, Any]]:
    """The study's best trials with different parameters: highest value, then lowest loss, then lowest number.

    Args:
        workers: the tune stage's manifests; each tells in ``trials`` of those that it ran.
        count: how many; fewer, if the study has no more.

    Raises:
        StageFailed: no trial was completed.
    """
    trials = [trial for worker in workers for trial in worker.metrics["trials"] if trial["state"] == "COMPLETE"]
    if not trials:
        fix = "Look at the log of tune for what ended the trials; then allow it more trials or minutes."
        raise StageFailed("train: no trial of the study was completed, so there are no parameters to take.", fix)
    distinct: dict[str, dict[str, Any]] = {}
    for trial in sorted(trials, key=lambda trial: (-trial["value"], trial["loss"], trial["number"])):
        distinct.setdefault(json.dumps(trial["params"], sort_keys=True), trial)
    if len(distinct) < count:
        log.warning("train: an ensemble of %d, for the study has no more parameters than that", len(distinct))
    return [*distinct.values()][:count]


def train_rank(payload: Mapping[str, Any]) -> dict[str, Any]:
    """One rank of a Horovod job: the launcher's target.

    Args:
        payload: ``spec`` as JSON types; ``store``, its address; ``dataset``, ``transform`` and ``start`` (or None),
            paths in it; ``checkpoints``, the fields of `Checkpoints`; ``events``, a path below `EVENTS`.

    Returns:
        ``digest`` of this rank's weights, ``history``, and from rank 0 the ``model``.
    """
    hvd.init()
    spec, store = Project.model_validate(payload["spec"]), open_store(payload["store"])
    job = Job(
        spec,
        store.fetch(payload["dataset"]),
        store.fetch(payload["transform"]),
        epochs=spec.training.epochs,
        checkpoints=Checkpoints(**payload["checkpoints"]),
        start=store.fetch(payload["start"]) if payload["start"] else None,
        events=settings().home / EVENTS / payload["events"],
    )
    tell: Log = (lambda line: print(line, flush=True)) if hvd.rank() == 0 else (lambda line: None)
    model, history = fit(job, tell, horovod=True)
    return {"digest": weights_digest(model), "history": history, "model": _saved(model) if hvd.rank() == 0 else b""}


def _fit(ctx: Context, trial: Mapping[str, Any], start: str | None) -> Fitted:
    """One job."""
    spec = replace(ctx.spec, trial["params"])
    log.info("train: trial %d, with a validation %s of %.4f", trial["number"], spec.score, trial["value"])
    kept = spec.training.checkpoints
    folder = f"{_checkpoints(ctx.spec.name)}/{ctx.key}/trial-{trial['number']:04d}"
    payload = {
        "spec": spec.model_dump(mode="json"),
        "store": ctx.store.uri,
        "dataset": ctx.input("dataset").folder,
        "transform": ctx.input("transform").folder,
        "start": start,
        "events": f"{ctx.spec.name}/{ctx.key[:12]}/trial-{trial['number']:04d}",
        "checkpoints": asdict(Checkpoints(ctx.store.uri, folder, kept.every, kept.keep)),
    }
    results = launch(
        f"{__name__}:{train_rank.__name__}",
        payload,
        ranks=spec.training.ranks,
        timeout=spec.training.timeout_minutes * 60,
        stall=spec.training.stall_minutes * 60,
        log=log.info,
        env={"TF_NUM_INTRAOP_THREADS": "1"},  # the same sums on every machine, whatever its cores
        stopped=ctx.stopped,
    )
    digests = {result["digest"] for result in results}
    if len(digests) != 1:
        message = f"The {len(results)} ranks ended with {len(digests)} different sets of weights."
        raise RankFailed(message, "Report this.")
    return Fitted(trial, spec, digests.pop(), results[0]["history"], results[0]["model"])


def _write_model(ctx: Context, members: Sequence[Fitted]) -> str:
    """The only model, or all of them as one; returns the digest of its weights."""
    target = ctx.out / MODEL
    if len(members) == 1:
        target.write_bytes(members[0].model)
        return members[0].digest
    models = []
    for member in members:
        file = ctx.work / MODEL
        file.write_bytes(member.model)
        models.append(keras.models.load_model(file, compile=False))
    joined = ensemble.join(ctx.spec, models)
    joined.save(target)
    return weights_digest(joined)


def _sweep(ctx: Context) -> None:
    """Removes the project's checkpoints of models that have been published."""
    keys = {path.split("/")[2] for path in ctx.store.list(_checkpoints(ctx.spec.name))}
    for key in keys:
        if ctx.store.exists(f"{ctx.spec.name}/train/{key}/{MANIFEST}"):
            ctx.store.delete(f"{_checkpoints(ctx.spec.name)}/{key}")


def _checkpoints(project: str) -> str:
    return f"{project}/checkpoints"


def _saved(model: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        model.save(file := Path(folder) / MODEL)
        return file.read_bytes()


def _history(member: Fitted) -> History:
    return member.history


def _params(member: Fitted) -> Mapping[str, Any]:
    return member.trial["params"]


def _measures(member: Fitted) -> dict[str, Any]:
    entry = kept_entry(member.history, member.spec.training.early_stopping)
    measured = {name: value for name, value in entry.items() if name not in ("learning_rate", "seconds")}
    return {"trial": member.trial["number"], "epochs": len(member.history), **measured}


def _write_json(ctx: Context, name: str, value: Any) -> None:
    (ctx.out / name).write_text(json.dumps(value, indent=2), encoding="utf-8")
