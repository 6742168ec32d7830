"""Evaluation: the candidate, its smaller forms, a plain linear model and the champion, on the same held-out rows.

Packaged models are measured as they are served. The Keras model is loaded for its gradients alone: to attack it, and to
explain what it looks at.
"""

import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tasks.core.artifacts import Rows
from tasks.core.layout import Layout
from tasks.core.shards import Split, evenly, read_split
from tasks.core.stages import Context, Outcome
from tasks.evaluation.attacks import attacker
from tasks.evaluation.baseline import logistic_regression, ridge_regression
from tasks.evaluation.calibration import calibration
from tasks.evaluation.comparisons import draw_places, draw_reliability
from tasks.evaluation.contenders import CHAMPION, PLAIN, Contender, ask, ask_disturbed, forms, load_champion
from tasks.evaluation.explain import Candidate, explain
from tasks.evaluation.footprint import BATCH, footprint
from tasks.evaluation.measured import BASELINE, UNDISTURBED, Place, Scores
from tasks.evaluation.metrics import confusion
from tasks.evaluation.opponent import opponent
from tasks.evaluation.pictures import draw_confusion, draw_numbers
from tasks.evaluation.robustness import ATTACKS, disturbed
from tasks.evaluation.slices import declared, found
from tasks.runtime.predictor import Inputs
from tasks.runtime.temperature import fit_temperature


def evaluate(ctx: Context) -> Outcome:
    """Writes ``report.json``, pictures beside it, and what explains the candidate.

    Raises:
        StageFailed: the candidate predicts no numbers.
        BadInput: the champion predicts classes and the candidate numbers, or the other way round; a declared slice
            names a column that there is not.
    """
    (train, train_features), (test, test_features) = (_read(ctx, split) for split in ("train", "test"))
    groups = declared(ctx.spec, test)
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    version = opponent(ctx)
    contenders = forms(ctx) | ({CHAMPION: load_champion(ctx, version)} if version else {})
    answers = ask(contenders, ctx.store, test)
    tests = _under_test(ctx, contenders, answers, test, test_features, model)
    answers[BASELINE] = _baseline(ctx, train, train_features, test, test_features)
    groups += found(ctx.spec, test, _losses(test.labels, answers[PLAIN]), groups)
    scores = Scores(ctx.spec, test.labels, answers, groups, tests)
    report = _report(ctx, scores, contenders, test)
    if version:
        report["champion"] = scores.metrics(CHAMPION) | {"version": version.version}
    (ctx.out / "report.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    _draw(ctx, report, test, answers[PLAIN])
    if not ctx.spec.is_regression:
        _calibrate(ctx, contenders[PLAIN], test, answers[PLAIN])
    if ctx.spec.evaluation.explain:
        explained = Candidate(
            model, contenders[PLAIN].predictor, train, train_features, test, test_features, answers[PLAIN]
        )
        explain(ctx.spec, explained, ctx.out)
    return Outcome(Rows(received=len(test), published=len(test)), metrics=report)


def _read(ctx: Context, split: str) -> tuple[Split, np.ndarray]:
    features = np.load(ctx.file(ctx.input("transform"), f"{split}.npy"), mmap_mode="r")
    return read_split(ctx.store.fetch(ctx.input("dataset").folder), split), features


def _baseline(
    ctx: Context, train: Split, train_features: np.ndarray, test: Split, test_features: np.ndarray
) -> np.ndarray:
    """A linear model's answers for the test split."""
    layout = Layout.read(ctx.store.fetch(ctx.input("transform").folder))
    if ctx.spec.is_regression:
        return ridge_regression(train, train_features, test, test_features, layout)
    return logistic_regression(train, train_features, test, test_features, layout, len(ctx.spec.classes))


def _under_test(
    ctx: Context,
    contenders: Mapping[str, Contender],
    answers: Mapping[str, np.ndarray],
    test: Split,
    features: np.ndarray,
    model: keras.Model,
) -> dict[str, Place]:
    """The robustness tests, and the same rows undisturbed."""
    rows = evenly(len(test), ctx.spec.evaluation.rows)
    attack = None
    if set(ATTACKS) & set(ctx.spec.tests):
        attack = attacker(model, test, features, ctx.spec.evaluation.epsilon)
    tests = {
        name: Place(rows, ask_disturbed(contenders, given)) for name, given in disturbed(ctx.spec, test, rows, attack)
    }
    if not tests:
        return {}
    return {UNDISTURBED: Place(rows, {name: found[rows] for name, found in answers.items()}), **tests}


def _losses(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """How wrong the candidate is about each row: the squared error of its probabilities (Brier, 1950), between 0 and 2,
    so that a single row does not decide; of a regression the absolute error.
    """
    if predicted.ndim == 1:
        return np.abs(predicted.astype(np.float64) - labels)
    errors = predicted.astype(np.float64)
    errors[np.arange(len(labels)), labels] -= 1
    losses: np.ndarray = (errors**2).sum(axis=1)
    return losses


def _report(ctx: Context, scores: Scores, contenders: Mapping[str, Contender], test: Split) -> dict[str, Any]:
    measured = {name: scores.measured(name) for name in contenders}
    sample = _sample(ctx, test)
    for name, each in measured.items():
        each["footprint"] = footprint(contenders[name].folder, sample)
        each["against"] = {other: scores.against(name, other) for other in (BASELINE, CHAMPION, PLAIN) if other != name}
    champion = measured.pop(CHAMPION, None)
    return {
        "rows": len(test),
        "candidate": scores.metrics(PLAIN),
        "baseline": scores.metrics(BASELINE),
        "champion": None,
        "forms": measured,
        "against": {other: scores.against(PLAIN, other) for other in (BASELINE, CHAMPION)},
        "champion_measured": champion,
        "confidence": ctx.spec.evaluation.confidence,
    }


def _sample(ctx: Context, test: Split) -> list[Any]:
    """Rows as they are received, for the footprint."""
    rows = evenly(len(test), BATCH)
    if test.rows is None:
        return [ctx.store.read_bytes(test.uris[row]) for row in rows]
    return [json.loads(test.rows[row]) for row in rows]


def _draw(ctx: Context, report: Mapping[str, Any], test: Split, predicted: np.ndarray) -> None:
    if ctx.spec.is_regression:
        draw_numbers(test.labels, predicted, ctx.out / "predictions.png")
    else:
        classes = ctx.spec.classes
        draw_confusion(
            confusion(test.labels, predicted.argmax(axis=1), len(classes)), classes, ctx.out / "confusion.png"
        )
    plain, champion = report["forms"][PLAIN], report["champion_measured"]
    metric = "mae" if ctx.spec.is_regression else "accuracy"
    for kind in ("slices", "robustness"):
        mine, theirs = (_by_name(each[kind]) if each else None for each in (plain, champion))
        if mine:
            draw_places(plain, theirs, mine, metric, ctx.out / f"{kind}.png")


def _by_name(entries: Any) -> dict[str, Any]:
    return dict(entries) if isinstance(entries, Mapping) else {entry["name"]: entry for entry in entries}


def _calibrate(ctx: Context, plain: Contender, test: Split, probabilities: np.ndarray) -> None:
    """``probabilities``: the plain form's for the test split, as served."""
    held, predictor = read_split(ctx.store.fetch(ctx.input("dataset").folder), "validation"), plain.predictor
    temperature = predictor.signature.temperature
    is_served = temperature != 1
    if is_served:
        probabilities = predictor.untempered(Inputs(test.images, test.features))
    else:
        temperature = fit_temperature(held.labels, predictor.untempered(Inputs(held.images, held.features)))
    told = calibration(test.labels, probabilities, temperature, fitted_on=len(held), is_served=is_served)
    (ctx.out / "calibration.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
    draw_reliability(told, ctx.out / "reliability.png")
