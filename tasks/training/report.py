"""The report stage: the run's learning curves and its study, as a page that loads nothing, and as pictures."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from plotly.offline import get_plotlyjs

from tasks.core.artifacts import Manifest
from tasks.core.stages import Context, Outcome
from tasks.training.study import plots as study_plots
from tasks.training.study.study import as_study

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:sans-serif;margin:2rem;max-width:75rem}}table{{border-collapse:collapse}}
td,th{{border-top:1px solid #ccc;padding:.3rem .8rem;text-align:left}}</style>
<script>{library}</script></head><body><h1>{title}</h1>{body}</body></html>"""

_SHOWN = ("epochs", "ranks", "accuracy", "val_accuracy", "r2", "val_r2", "loss", "val_loss", "weights_digest")


def report(ctx: Context) -> Outcome:
    """Writes ``report.html`` and a PNG for each plot of the study."""
    train = ctx.input("train")
    trials = [trial for worker in ctx.inputs["tune"] for trial in worker.metrics["trials"]]
    study = as_study(trials, ctx.spec.tuning)
    histories = json.loads(ctx.file(train, "history.json").read_text(encoding="utf-8"))
    if isinstance(histories, list):
        histories = {"": histories}
    plots = {"Learning curves": study_plots.learning_curves(histories), **study_plots.interactive(study)}
    for plot in plots.values():
        plot.update_layout(title=None, margin={"t": 20})  # the heading says it
    body = _summary(train) + "".join(
        f"<h2>{escape(title)}</h2>{plot.to_html(full_html=False, include_plotlyjs=False)}"
        for title, plot in plots.items()
    )
    body += _table(sorted(trials, key=lambda trial: trial["number"]))
    page = _PAGE.format(title=f"{escape(ctx.spec.name)}: training", library=get_plotlyjs(), body=body)
    (ctx.out / "report.html").write_text(page, encoding="utf-8")
    pictures = study_plots.draw(study, ctx.out)
    return Outcome(metrics={"plots": ["report.html", *pictures]})


def _summary(train: Manifest) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}<td>{escape(_text(train.metrics[name]))}" for name in _SHOWN if name in train.metrics
    )
    return f"<table>{rows}</table>"


def _table(trials: Sequence[Mapping[str, Any]]) -> str:
    names = sorted({name for trial in trials for name in trial["params"]})
    head = "".join(f"<th>{escape(name)}" for name in ("trial", "state", "score", *names))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(value))}" for value in _cells(trial, names)) for trial in trials
    )
    return f"<h2>Trials</h2><table><tr>{head}</tr>{rows}</table>"


def _cells(trial: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    return [trial["number"], trial["state"], trial["value"], *(trial["params"].get(name, "") for name in names)]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
