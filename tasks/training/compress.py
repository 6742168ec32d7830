"""The compress stage: the smaller forms of the candidate that have to be trained, pruned and distilled.

They are trained in this process, by the same loop as any model: with the candidate's parameters, from its weights or
from its answers.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tasks.core.config import replace
from tasks.core.spec import Distilled, Project, Pruned
from tasks.core.stages import Context, Outcome
from tasks.models import ensemble
from tasks.training import targets
from tasks.training.batches import read_rows
from tasks.training.distillation import student_of
from tasks.training.loop import Job, fit
from tasks.training.pruning import Pruning, zeros
from tasks.training.stopping import kept_entry

log = logging.getLogger("updraft")

MODEL = "model.keras"

_FROM_ITS_WEIGHTS = {"model.start": None, "training.early_stopping": None, "training.ema": None}
"""Of a model that is pruned: earlier weights, or their average, were not yet cut."""


def compress(ctx: Context) -> Outcome:
    """Writes ``<kind>/model.keras`` for each form of the spec that is trained; none asked for, it writes nothing.

    Returns:
        Of each kind, ``parameters``, the share of them that are ``zeros``, and the measures of its last epoch.

    Raises:
        BadInput: a student's fields are none that its family takes.
    """
    metrics: dict[str, Any] = {}
    for form in ctx.spec.packaging.forms:
        if isinstance(form, Pruned | Distilled):
            log.info("compress: %s", form.kind)
            model, measured = _pruned(ctx, form) if isinstance(form, Pruned) else _distilled(ctx, form)
            target = ctx.out / form.kind / MODEL
            target.parent.mkdir()
            model.save(target)
            metrics[form.kind] = {"parameters": model.count_params(), "zeros": zeros([model]), **measured}
    return Outcome(metrics=metrics)


def _pruned(ctx: Context, form: Pruned) -> tuple[keras.Model, dict[str, Any]]:
    """The candidate, cut and trained on; of an ensemble, each of its members."""
    specs = [replace(spec, _FROM_ITS_WEIGHTS) for spec in _specs(ctx)]
    pruned: list[keras.Model] = []
    measured: dict[str, Any] = {}
    for spec, start in zip(specs, _weights(ctx, len(specs)), strict=True):
        model, found = _fit(ctx, spec, form.epochs, start=start, callbacks=[Pruning(form.sparsity)])
        pruned.append(model)
        measured = measured or found
    return (pruned[0] if len(pruned) == 1 else ensemble.join(ctx.spec, pruned)), measured


def _distilled(ctx: Context, form: Distilled) -> tuple[keras.Model, dict[str, Any]]:
    """A model of the best trial's parameters, but for those that the form sets."""
    fields = {f"model.{name}": value for name, value in form.set.items()}
    spec = replace(_specs(ctx)[0], {"model.start": None, **fields})
    unit = targets.measure(read_rows(_dataset(ctx), _transform(ctx), "train").labels) if spec.is_regression else None
    teacher = keras.models.load_model(_candidate(ctx), compile=False)
    return _fit(ctx, spec, form.epochs, build=student_of(teacher, form, unit))


def _fit(ctx: Context, spec: Project, epochs: int, **how: Any) -> tuple[keras.Model, dict[str, Any]]:
    model, history = fit(Job(spec, _dataset(ctx), _transform(ctx), epochs, **how), lambda line: log.info("%s", line))
    entry = kept_entry(history, spec.training.early_stopping)
    return model, {name: value for name, value in entry.items() if name not in ("learning_rate", "seconds")}


def _specs(ctx: Context) -> list[Project]:
    """The project with the parameters of each model that the candidate consists of, the best first."""
    told = json.loads(ctx.file(ctx.input("train"), "params.json").read_text(encoding="utf-8"))
    params: list[Mapping[str, Any]] = [told["params"]] if "params" in told else list(told.values())
    return [replace(ctx.spec, each) for each in params]


def _weights(ctx: Context, members: int) -> list[Path]:
    """A file with the weights of each of the candidate's members."""
    if members == 1:
        return [_candidate(ctx)]
    joined = keras.models.load_model(_candidate(ctx), compile=False)
    files = [ctx.work / f"member-{number}.keras" for number in range(members)]
    for number, file in enumerate(files):
        joined.get_layer(f"member_{number}").save(file)
    return files


def _candidate(ctx: Context) -> Path:
    return ctx.file(ctx.input("train"), MODEL)


def _dataset(ctx: Context) -> Path:
    return ctx.store.fetch(ctx.input("dataset").folder)


def _transform(ctx: Context) -> Path:
    return ctx.store.fetch(ctx.input("transform").folder)
