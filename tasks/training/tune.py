"""Tuning: one worker of the project's Optuna study, which trains trials in this process for a few epochs each."""

import json
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tasks.core.artifacts import digest_json
from tasks.core.config import replace
from tasks.core.errors import BadInput, StageFailed
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, load_manifest
from tasks.training import start_source
from tasks.training.checkpoint import Checkpoints
from tasks.training.loop import EVENTS, Job, fit
from tasks.training.stopping import kept_entry
from tasks.training.study import earlier
from tasks.training.study.attempt import Attempt, Result
from tasks.training.study.latency import milliseconds_per_row
from tasks.training.study.study import Study

log = logging.getLogger("updraft")


def tune(ctx: Context) -> Outcome:
    """Runs trials until the study's budget is used up, and writes ``trials.json``.

    A trial is judged on the validation split alone, or by cross-validation over training and validation rows; the test
    split is never read. The first worker (``worker-00``) waits for the others' trials and tells of all of them; the
    others tell of none, so that together they tell of each trial once, whoever ran it.

    Raises:
        StageFailed: no trial came to a score.
    """
    told = earlier.state(ctx)
    if "reused" in told:
        return _reuse(ctx, told["reused"])
    forced_by = [ctx.run_id] if ctx.forced else []
    name = f"{ctx.spec.name}-{digest_json([earlier.question(ctx), told, *forced_by])[:12]}"
    is_first = ctx.partition == earlier.FIRST
    study = Study(name, ctx.spec.tuning, str(ctx.partition), told["earlier"])
    study.work(lambda attempt: _Trial(ctx, name, attempt).run(), waits=is_first)
    if is_first:
        ctx.store.delete(_checkpoints(ctx.spec, name))
    return _tell(ctx, study.outcomes() if is_first else [], {"study": name})


def _reuse(ctx: Context, reused: Mapping[str, Any]) -> Outcome:
    log.info("tune: no search; the study %s of %s is used again", reused["study"], reused["searched_at"])
    trials = load_manifest(ctx.store, reused["manifest"]).metrics["trials"]
    told = {"study": reused["study"], "reused": {name: reused[name] for name in ("study", "searched_at")}}
    return _tell(ctx, trials if ctx.partition == earlier.FIRST else [], told)


def _tell(ctx: Context, trials: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> Outcome:
    (ctx.out / "trials.json").write_text(json.dumps(trials, indent=2), encoding="utf-8")
    return Outcome(metrics={**told, "best": _best(trials), "trials": trials})


def _best(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The best trial's parameters."""
    if not trials:
        return None
    complete = [trial for trial in trials if trial["state"] == "COMPLETE"]
    if not complete:
        why = next((trial["why"] for trial in trials if "why" in trial), "none was trained to its end")
        fix = "Narrow tuning.space, or look at the log for what ended the trials."
        raise StageFailed(f"tune: none of the {len(trials)} trials came to a score: {why}", fix)
    best = min(complete, key=lambda trial: (-trial["value"], trial["loss"], trial["number"]))
    params: Mapping[str, Any] = best["params"]
    return params


def _checkpoints(spec: Project, study: str) -> str:
    return f"{spec.name}/checkpoints/{study}"


class _Trial:
    """One trial's fits: one, or one per fold of a cross-validation."""

    def __init__(self, ctx: Context, study: str, attempt: Attempt) -> None:
        self._ctx, self._attempt, self._name = ctx, attempt, f"trial {attempt.number}"
        self._folder = f"{_checkpoints(ctx.spec, study)}/trial-{attempt.number:04d}"

    def run(self) -> Result:
        """Trains, judged after each epoch, or each fold.

        Raises:
            BadInput: the combination of parameters is none that can be trained.
        """
        params = self._attempt.params
        self._say(", ".join(f"{field} {_short(value)}" for field, value in params.items()) or "the spec as it is")
        try:
            spec = replace(self._ctx.spec, params)
            result = self._cross_validated(spec) if spec.tuning.cross_validate else self._judged(spec)
        except BadInput as error:
            self._say(f"refused: {error}")
            raise
        except tf.errors.ResourceExhaustedError as error:
            self._say("out of memory")
            raise BadInput(f"Out of memory: {error.message.splitlines()[0]}", "Narrow tuning.space.") from None
        ended = "ended early" if self._attempt.pruned else "done"
        self._say(f"{ended} after {result.epochs} epochs, validation {spec.score} {result.score:.4f}")
        self._ctx.store.delete(self._folder)
        return result

    def _judged(self, spec: Project) -> Result:
        def judged(epochs: int, entry: Mapping[str, float]) -> bool:
            return self._attempt.judge(epochs, _score(spec, entry), is_last=epochs == spec.tuning.epochs)

        model, history = fit(self._job(spec), self._say, judged=judged)
        for epochs, entry in enumerate(history, start=1):
            # A kill may have come after an epoch's checkpoint and before its report.
            self._attempt.report(epochs, _score(spec, entry))
        kept = kept_entry(history, spec.training.early_stopping)
        return Result(_score(spec, kept), kept["val_loss"], len(history), _objectives(spec, model))

    def _cross_validated(self, spec: Project) -> Result:
        scores, losses, epochs = [], [], 0
        objectives: dict[str, float] = {}
        for fold in range(spec.split.folds):
            model, history = fit(self._job(spec, fold), partial(self._say_of, f"fold {fold}: "))
            entry = kept_entry(history, spec.training.early_stopping)
            scores.append(_score(spec, entry))
            losses.append(entry["val_loss"])
            epochs += len(history)
            objectives = objectives or _objectives(spec, model)
            mean = round(statistics.fmean(scores), 6)
            if self._attempt.judge(fold + 1, mean, is_last=fold + 1 == spec.split.folds):
                break
        return Result(mean, statistics.fmean(losses), epochs, objectives)

    def _job(self, spec: Project, fold: int | None = None) -> Job:
        ctx = self._ctx
        folder = self._folder if fold is None else f"{self._folder}/fold-{fold}"
        return Job(
            spec,
            ctx.store.fetch(ctx.input("dataset").folder),
            ctx.store.fetch(ctx.input("transform").folder),
            epochs=spec.tuning.epochs,
            checkpoints=Checkpoints(ctx.store.uri, folder, every=spec.training.checkpoints.every),
            fold=fold,
            start=start_source.fetch(ctx),
            events=settings().home / EVENTS / folder.replace("/checkpoints/", "/"),
        )

    def _say(self, line: str) -> None:
        self._say_of("", line)

    def _say_of(self, part: str, line: str) -> None:
        log.info("%s: %s%s", self._name, part, line)


def _objectives(spec: Project, model: keras.Model) -> dict[str, float]:
    """Of nsga2: what is minimized."""
    wanted = spec.tuning.objectives
    latency = {"latency": milliseconds_per_row(model)} if "latency" in wanted else {}
    return latency | ({"size": float(model.count_params())} if "size" in wanted else {})


def _score(spec: Project, entry: Mapping[str, float]) -> float:
    """Not a number, if the loss is none: a diverged model may still guess some labels."""
    return round(entry[f"val_{spec.score}"], 6) if math.isfinite(entry["val_loss"]) else math.nan


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
