"""Evaluation: candidate, baseline and champion, measured on the same rows of the test split."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import keras
import numpy as np

from tasks.core.artifacts import Rows
from tasks.core.errors import StageFailed
from tasks.core.registry import Version
from tasks.core.shards import Split, read_split
from tasks.core.stages import Context, Outcome
from tasks.evaluation.baseline import logistic_regression
from tasks.evaluation.metrics import confusion, measure
from tasks.evaluation.opponent import opponent
from tasks.evaluation.pictures import draw_confusion
from tasks.runtime.predictor import Predictor

_BATCH = 1024


def evaluate(ctx: Context) -> Outcome:
    """Writes ``report.json`` (the measures of all three) and ``confusion.png`` (the candidate's).

    Raises:
        StageFailed: the candidate predicts no numbers.
    """
    (train, train_features), (test, test_features) = (_read(ctx, split) for split in ("train", "test"))
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    candidate = probabilities(model, inputs_of(test, test_features))
    plain = logistic_regression(train, train_features, test, test_features, len(ctx.spec.classes))
    champion = opponent(ctx)
    report = {
        "rows": len(test),
        "candidate": measure(test.labels, candidate),
        "baseline": measure(test.labels, plain),
        "champion": _measure_champion(ctx, champion, test) if champion else None,
    }
    (ctx.out / "report.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    counts = confusion(test.labels, candidate.argmax(axis=1), len(ctx.spec.classes))
    draw_confusion(counts, ctx.spec.classes, ctx.out / "confusion.png")
    return Outcome(Rows(received=len(test), published=len(test)), metrics=report)


def inputs_of(split: Split, features: np.ndarray) -> dict[str, np.ndarray]:
    """What a model of `tasks.models` takes.

    Args:
        features: the split's, transformed, float32 (N, D).
    """
    return ({} if split.images is None else {"image": split.images}) | {"features": features}


def probabilities(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The softmax of the model's logits: float64 (N, classes).

    Args:
        inputs: the model's, by name, (N, ...) each.

    Raises:
        StageFailed: some of them are not finite.
    """
    parts = []
    for start in range(0, len(inputs["features"]), _BATCH):
        batch = {name: values[start : start + _BATCH] for name, values in inputs.items()}
        logits = model(batch, training=False)
        parts.append(keras.ops.convert_to_numpy(logits).astype(np.float64))
    logits = np.concatenate(parts)
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits).all(axis=1)).sum())
        raise StageFailed(
            f"The candidate predicts no numbers for {bad} of {len(logits)} test rows: its training diverged.",
            "Lower training.learning_rate, or the upper end of its search space.",
        )
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


def _measure_champion(ctx: Context, champion: Version, test: Split) -> dict[str, Any]:
    """Measures the package that serves, from the rows' own values: with its transform, its features, its decoder."""
    predictor = Predictor.load(ctx.store.fetch(PurePosixPath(champion.package).parent.as_posix()))
    if test.rows is None:
        found = predictor.predict_bytes(map(ctx.store.read_bytes, test.uris))
    else:
        # Not strict: columns may have come and gone since the champion was trained.
        found = predictor.predict_rows(map(json.loads, test.rows), strict=False)
    ours = in_our_order(found, predictor.classes, ctx.spec.classes)
    return measure(test.labels, ours) | {"version": champion.version}
