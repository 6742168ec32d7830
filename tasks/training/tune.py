"""Tuning: one trial of the project's Optuna study, trained in this process for a few epochs."""

import json
import logging
import math
import sys
from collections.abc import Mapping
from typing import Any

from tasks.core.artifacts import digest_json
from tasks.core.config import replace
from tasks.core.pipeline import find_step
from tasks.core.stages import Context, Outcome
from tasks.training.loop import Job, fit
from tasks.training.study import run_trial

log = logging.getLogger("updraft")


def tune(ctx: Context) -> Outcome:
    """Runs the trial that the partition names (``trial-0003``) and writes ``trial.json``.

    ``value`` is the validation accuracy after ``tuning.epochs`` epochs, ``loss`` the validation loss.
    """
    number = int(str(ctx.partition).removeprefix("trial-"))
    name = f"trial {number}"

    def objective(params: Mapping[str, Any]) -> tuple[float, float]:
        log.info("%s: %s", name, ", ".join(f"{field} {_short(value)}" for field, value in params.items()))
        job = Job(
            replace(ctx.spec, params),
            ctx.store.fetch(ctx.input("dataset").folder),
            ctx.store.fetch(ctx.input("transform").folder),
            epochs=ctx.spec.tuning.epochs,
        )
        _, history = fit(job, lambda line: log.info("%s: %s", name, line))
        value, loss = history[-1]["val_accuracy"], history[-1]["val_loss"]
        # A diverged trial is an answer too; manifests hold numbers only, and this one loses every tie.
        return round(value, 6), round(loss, 6) if math.isfinite(loss) else sys.float_info.max

    result = run_trial(_study_name(ctx), ctx.spec.tuning, number, objective)
    (ctx.out / "trial.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    return Outcome(metrics=result)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _study_name(ctx: Context) -> str:
    """The same for trials that can be compared: same code, spec fields, dataset and transform."""
    stage = find_step("tune").stage
    shared = {
        "code": stage.code_version,
        "spec": ctx.spec.section(*stage.fields),
        "inputs": {name: [manifest.digest for manifest in found] for name, found in ctx.inputs.items()},
    }
    return f"{ctx.spec.name}-{digest_json(shared)[:12]}"
