"""Evaluation: candidate, baseline and champion, measured on the same rows of the test split."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import keras
import numpy as np

from tasks.core.artifacts import Rows
from tasks.core.errors import BadInput, StageFailed
from tasks.core.layout import Layout
from tasks.core.registry import Version
from tasks.core.shards import Split, read_split
from tasks.core.stages import Context, Outcome
from tasks.evaluation.baseline import logistic_regression, ridge_regression
from tasks.evaluation.metrics import confusion, measure, measure_numbers
from tasks.evaluation.opponent import opponent
from tasks.evaluation.pictures import draw_confusion, draw_numbers
from tasks.runtime.predictor import Predictor

_BATCH = 1024


def evaluate(ctx: Context) -> Outcome:
    """Writes ``report.json`` (the measures of all three) and the candidate's picture: ``confusion.png``, of a
    regression ``predictions.png``.

    Raises:
        StageFailed: the candidate predicts no numbers.
        BadInput: the champion predicts classes and the candidate numbers, or the other way round.
    """
    (train, train_features), (test, test_features) = (_read(ctx, split) for split in ("train", "test"))
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    inputs, layout = inputs_of(test, test_features), Layout.read(ctx.store.fetch(ctx.input("transform").folder))
    champion = opponent(ctx)
    if ctx.spec.is_regression:
        candidate = outputs(model, inputs)[:, 0]
        plain = ridge_regression(train, train_features, test, test_features, layout)
        draw_numbers(test.labels, candidate, ctx.out / "predictions.png")
    else:
        candidate = probabilities(model, inputs)
        classes = len(ctx.spec.classes)
        plain = logistic_regression(train, train_features, test, test_features, layout, classes)
        counts = confusion(test.labels, candidate.argmax(axis=1), classes)
        draw_confusion(counts, ctx.spec.classes, ctx.out / "confusion.png")
    judge = measure_numbers if ctx.spec.is_regression else measure
    report = {
        "rows": len(test),
        "candidate": judge(test.labels, candidate),
        "baseline": judge(test.labels, plain),
        "champion": None,
    }
    if champion:
        report["champion"] = judge(test.labels, _asked(ctx, champion, test)) | {"version": champion.version}
    (ctx.out / "report.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    return Outcome(Rows(received=len(test), published=len(test)), metrics=report)


def inputs_of(split: Split, features: np.ndarray) -> dict[str, np.ndarray]:
    """What a model of `tasks.models` takes.

    Args:
        features: the split's, transformed, float32 (N, D).
    """
    return ({} if split.images is None else {"image": split.images}) | {"features": features}


def outputs(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the model gives: float64 (N, classes), logits; of a regression (N, 1), numbers in the labels' unit.

    Args:
        inputs: the model's, by name, (N, ...) each.

    Raises:
        StageFailed: some of it is not finite.
    """
    parts = []
    for start in range(0, len(inputs["features"]), _BATCH):
        batch = {name: values[start : start + _BATCH] for name, values in inputs.items()}
        parts.append(keras.ops.convert_to_numpy(model(batch, training=False)).astype(np.float64))
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found).all(axis=1)).sum())
        raise StageFailed(
            f"The candidate predicts no numbers for {bad} of {len(found)} test rows: its training diverged.",
            "Lower training.learning_rate, or the upper end of its search space.",
        )
    return found


def probabilities(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The softmax of the model's `outputs`: float64 (N, classes)."""
    logits = outputs(model, inputs)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def in_our_order(found: np.ndarray, theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """Columns of ``found`` (N, theirs) by class name: (N, ours), 0 for a class that they do not know."""
    columns = [
        found[:, list(theirs).index(name)] if name in theirs else np.zeros(len(found), found.dtype) for name in ours
    ]
    return np.stack(columns, axis=1)


def _read(ctx: Context, split: str) -> tuple[Split, np.ndarray]:
    features = np.load(ctx.file(ctx.input("transform"), f"{split}.npy"))
    return read_split(ctx.store.fetch(ctx.input("dataset").folder), split), features


def _asked(ctx: Context, champion: Version, test: Split) -> np.ndarray:
    """What the package that serves says of the rows' own values: with its transform, its features, its decoder.

    Returns:
        Probabilities (N, classes) in the spec's order, or of a regression numbers (N,).
    """
    predictor = Predictor.load(ctx.store.fetch(PurePosixPath(champion.package).parent.as_posix()))
    if predictor.is_regression != ctx.spec.is_regression:
        message = (
            f"{ctx.spec.name}: champion version {champion.version} predicts something else than this {ctx.spec.task}."
        )
        raise BadInput(message, "Give the new task a project of its own.")
    if test.rows is None:
        found = predictor.predict_bytes(map(ctx.store.read_bytes, test.uris))
    else:
        # Not strict: columns may have come and gone since the champion was trained.
        found = predictor.predict_rows(map(json.loads, test.rows), strict=False)
    return found[:, 0] if ctx.spec.is_regression else in_our_order(found, predictor.classes, ctx.spec.classes)
