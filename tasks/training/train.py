"""Training: the best trial's model, fitted by Horovod ranks; a retry resumes from the last checkpoint."""

import json
import logging
from collections.abc import Sequence
from typing import Any

from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import RankFailed
from tasks.core.stages import Context, Outcome
from tasks.training import curves, loop
from tasks.training.launcher import launch

log = logging.getLogger("updraft")


def train(ctx: Context) -> Outcome:
    """Writes ``model.keras``, ``history.json``, ``params.json`` and ``curves.png``.

    Raises:
        RankFailed: a rank failed or the time ran out, or the ranks ended with different weights.
    """
    best = best_trial(ctx.inputs["tune"])
    spec = replace(ctx.spec, best["params"])
    log.info("train: trial %d was the best, with validation accuracy %.4f", best["number"], best["value"])
    payload = {
        "spec": spec.model_dump(mode="json"),
        "dataset": str(ctx.store.fetch(ctx.input("dataset").folder)),
        "transform": str(ctx.store.fetch(ctx.input("transform").folder)),
        "checkpoints": str(ctx.work / "checkpoints"),
        "model": str(ctx.out / "model.keras"),
    }
    results = launch(
        f"{loop.__name__}:{loop.train_rank.__name__}",
        payload,
        ranks=spec.training.ranks,
        timeout=spec.training.timeout_minutes * 60,
        log=log.info,
        env={"TF_NUM_INTRAOP_THREADS": "1"},  # the same sums on every machine, whatever its cores
        stopped=ctx.stopped,
    )
    digests = {result["digest"] for result in results}
    if len(digests) != 1:
        raise RankFailed(
            f"The {len(results)} ranks ended with {len(digests)} different sets of weights.", "Report this."
        )
    history = results[0]["history"]
    _write_json(ctx, "history.json", history)
    _write_json(ctx, "params.json", {"trial": best["number"], "params": best["params"]})
    curves.draw(history, ctx.out / "curves.png")
    last = history[-1]
    return Outcome(
        metrics={
            "weights_digest": digests.pop(),
            "trial": best["number"],
            "epochs": len(history),
            "ranks": len(results),
            **{name: last[name] for name in ("accuracy", "loss", "val_accuracy", "val_loss")},
        }
    )


def best_trial(trials: Sequence[Manifest]) -> dict[str, Any]:
    """The winning trial's metrics: highest validation accuracy, then lowest loss, then lowest number."""
    return min(
        (dict(trial.metrics) for trial in trials), key=lambda trial: (-trial["value"], trial["loss"], trial["number"])
    )


def _write_json(ctx: Context, name: str, value: Any) -> None:
    (ctx.out / name).write_text(json.dumps(value, indent=2), encoding="utf-8")
