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
from tasks.core.stages import Context, Outcome, stage
from tasks.evaluation.baseline import logistic_regression
from tasks.evaluation.metrics import confusion, measure
from tasks.evaluation.pictures import draw_confusion
from tasks.runtime.predictor import Predictor

_BATCH = 1024


def opponent(ctx: Context) -> Version | None:
    """The champion that this candidate is judged against, if any.

    Once the candidate itself is champion, it is the one that it was judged against then: the same question asked again
    has the same answer.
    """
    champion = ctx.registry.alias(ctx.spec.name)
    if champion is None or champion.details["candidate"] != ctx.input("train").key:
        return champion
    earlier = champion.details["judged_against"]
    return next((version for version in ctx.registry.versions(ctx.spec.name) if version.version == earlier), None)


def _outside(ctx: Context) -> Mapping[str, Any]:
    champion = opponent(ctx)
    # The number alone would not do: a new registry over an old store counts from 1 again.
    return {"champion": f"version {champion.version} ({champion.key[:12]})" if champion else None}


@stage("evaluate", "classes", reproducible=False, outside=_outside)
def evaluate(ctx: Context) -> Outcome:
    """Writes ``report.json`` (the measures of all three) and ``confusion.png`` (the candidate's).

    Raises:
        StageFailed: the candidate predicts no numbers.
    """
    (train, train_features), (test, test_features) = (_read(ctx, split) for split in ("train", "test"))
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    candidate = probabilities(model, test.images, test_features)
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


def probabilities(model: keras.Model, images: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The softmax of the model's logits: float64 (N, classes).

    Args:
        images: uint8 (N, H, W, C).
        features: transformed, float32 (N, D).

    Raises:
        StageFailed: some of them are not finite.
    """
    parts = []
    for start in range(0, len(images), _BATCH):
        rows = slice(start, start + _BATCH)
        logits = model({"image": images[rows], "features": features[rows]}, training=False)
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
    """Measures the package that serves, from the images' own bytes: with its transform, its features, its decoder."""
    predictor = Predictor.load(ctx.store.fetch(PurePosixPath(champion.package).parent.as_posix()))
    found = predictor.predict_bytes([ctx.store.read_bytes(uri) for uri in test.uris])
    ours = in_our_order(found, predictor.classes, ctx.spec.classes)
    return measure(test.labels, ours) | {"version": champion.version}
