"""The pictures of a model card, inlined, so that the page is one file."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.core.artifacts import Manifest
from tasks.core.stages import Context

_CAPTIONS = {
    "confusion.png": "Confusion matrix: rows are true classes, columns predicted ones; colours are shares of a row.",
    "predictions.png": "Predicted beside true numbers; on the line a prediction is right.",
    "reliability.png": "Reliability: how often the model is right beside how sure it says it is.",
    "curves.png": "Learning curves of the model, by epoch.",
}
_STUDY = {
    "optimization_history.png": "The study: the score of each trial.",
    "parameter_importance.png": "What of its parameters mattered.",
    "pareto_front.png": "The study: the trials that no other beats in everything.",
}


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    Attributes:
        group: the section that it stands in: ``results``, ``training`` or ``explanation``.
        uri: the picture itself, as ``data:``.
    """

    group: str
    caption: str
    uri: str


def pictures(ctx: Context) -> list[Picture]:
    """What evaluation, training and study have drawn. Slices and tests the page draws itself, in their tables."""
    evaluate, train, report = ctx.input("evaluate"), ctx.input("train"), ctx.input("report")
    found = [
        Picture("training" if manifest is train else "results", caption, _inline(ctx, manifest, name))
        for manifest in (evaluate, train)
        for name, caption in _CAPTIONS.items()
        if name in manifest.outputs
    ]
    found += [
        Picture("training", caption, _inline(ctx, report, name))
        for name, caption in _STUDY.items()
        if name in report.outputs
    ]
    return [*found, *_explanations(ctx, evaluate)]


def _explanations(ctx: Context, evaluate: Manifest) -> Iterator[Picture]:
    if "explain.json" not in evaluate.outputs:
        return
    for each in json.loads(ctx.file(evaluate, "explain.json").read_text(encoding="utf-8"))["pictures"]:
        yield Picture("explanation", each["caption"], _inline(ctx, evaluate, each["file"]))


def _inline(ctx: Context, manifest: Manifest, name: str) -> str:
    return "data:image/png;base64," + base64.b64encode(ctx.file(manifest, name).read_bytes()).decode()
