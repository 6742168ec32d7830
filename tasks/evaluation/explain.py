"""What the model looks at: pictures and numbers for the model card."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tasks.core.shards import Split, evenly
from tasks.core.spec import Project
from tasks.evaluation import explain_pictures as pictures
from tasks.evaluation.attributions import grad_cam, integrated_gradients
from tasks.evaluation.examples import Example, examples
from tasks.evaluation.importance import REPEATS, permutation_importance
from tasks.evaluation.neighbours import nearest
from tasks.runtime.baseline import summarize, watched
from tasks.runtime.explanation import explain as explain_row
from tasks.runtime.extractors import names
from tasks.runtime.predictor import Predictor

FOLDER, FILE = "explain", "explain.json"

_SEEN = {
    "right": "Rows that are predicted rightly, evenly chosen: what speaks for and against the prediction.",
    "wrong": "The worst errors: what speaks for and against the prediction.",
}
_EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Candidate:
    """A trained model, what is packaged of it, and what it was trained and is tested on.

    Attributes:
        model: as it was trained: gradients are followed through it.
        predictor: its plain form.
        train_features: the training split's, transformed, float32 (N, D).
        test_features: the held-out split's.
        predictions: the predictor's, of the whole held-out split: (N, classes), or of a regression (N,).
    """

    model: keras.Model
    predictor: Predictor
    train: Split
    train_features: np.ndarray
    test: Split
    test_features: np.ndarray
    predictions: np.ndarray


def explain(spec: Project, candidate: Candidate, out: Path) -> dict[str, Any]:
    """Writes ``explain.json`` and pictures under ``explain/``.

    Returns:
        What ``explain.json`` holds: ``examples`` (right and wrong rows; of a table with their columns' contributions),
        ``importance`` with ``importance_of`` (the loss that grows), ``neighbours`` of the worst errors, and
        ``pictures``: each ``file``, relative to ``out``, with its ``caption``.
    """
    (out / FOLDER).mkdir(exist_ok=True)
    chosen = examples(candidate.test.labels, candidate.predictions)
    shown = _Shown(spec, candidate, out / FOLDER)
    described = shown.seen(chosen) if spec.image else shown.contributions(chosen)
    importance = shown.importance()
    near = shown.neighbours([example for example in chosen if example.kind == "wrong"])
    found = {"examples": described, **importance, "neighbours": near, "pictures": shown.pictures}
    (out / FILE).write_text(json.dumps(found, indent=2, ensure_ascii=False), encoding="utf-8")
    return found


class _Shown:
    """Draws into ``folder`` and keeps count of the pictures."""

    def __init__(self, spec: Project, candidate: Candidate, folder: Path) -> None:
        self.pictures: list[dict[str, str]] = []
        self._spec, self._of, self._folder = spec, candidate, folder

    def seen(self, chosen: Sequence[Example]) -> list[dict[str, Any]]:
        """Integrated gradients and Grad-CAM of images."""
        of = self._of
        assert of.test.images is not None
        for kind, part in _by_kind(chosen):
            rows, targets = _numbers(part)
            given = of.model, of.test.images[rows], np.asarray(of.test_features[rows]), targets
            attributions, heat = integrated_gradients(*given), grad_cam(*given)
            path = self._picture(kind, _SEEN[kind])
            pictures.draw_attributions(given[1], [self._caption(each) for each in part], attributions, heat, path)
        return [self._described(example) for example in chosen]

    def contributions(self, chosen: Sequence[Example]) -> list[dict[str, Any]]:
        """Shapley values of a table's rows."""
        of, spec = self._of, self._spec
        assert of.test.rows is not None
        baseline = summarize(watched(spec.features, of.train.features), names(spec.features, None))
        found = []
        for kind, part in _by_kind(chosen):
            rows = [json.loads(of.test.rows[example.row]) for example in part]
            known = {column.name for column in of.predictor.signature.columns}
            given = [{name: row[name] for name in row if name in known} for row in rows]
            explained = [explain_row(of.predictor, row, baseline=baseline) for row in given]
            path = self._picture(kind, _SEEN[kind])
            captions = [self._against(each, why["typical"]) for each, why in zip(part, explained, strict=True)]
            pictures.draw_contributions(captions, explained, path)
            found += [self._described(each) | why for each, why in zip(part, explained, strict=True)]
        return found

    def importance(self) -> dict[str, Any]:
        """Permutation importance of columns or feature groups."""
        loss, measured = ("mae", _mae) if self._spec.is_regression else ("log_loss", _log_loss)
        rows = evenly(len(self._of.test), self._spec.evaluation.rows)
        found = permutation_importance(self._of.predictor, self._of.test, rows, measured)
        what = "pixels or features" if self._spec.image else "values"
        caption = (
            f"By how much {loss} grows when the rows' {what} are dealt out anew; whiskers: {REPEATS} permutations."
        )
        pictures.draw_importance(found, loss, self._picture("importance", caption))
        return {"importance_of": loss, "importance": [each._asdict() for each in found]}

    def neighbours(self, wrong: Sequence[Example]) -> list[dict[str, Any]]:
        """The training rows nearest to the worst errors."""
        of = self._of
        if not wrong:
            return []
        rows, _ = _numbers(wrong)
        test = {"features": np.asarray(of.test_features[rows])}
        train = {"features": of.train_features}
        if of.test.images is not None and of.train.images is not None:
            test, train = test | {"image": of.test.images[rows]}, train | {"image": of.train.images}
        near = nearest(of.model, train, test)
        if of.test.images is not None and of.train.images is not None:
            path = self._picture("neighbours", "The worst errors, and the training images most like them to the model.")
            above = [
                [f"{self._label(of.train, each.row)}, distance {each.distance:.2g}" for each in line] for line in near
            ]
            beside = [of.train.images[[each.row for each in line]] for line in near]
            captions = [self._caption(each) for each in wrong]
            pictures.draw_neighbours(of.test.images[rows], captions, beside, above, path)
        return [
            self._described(example) | {"nearest": [self._neighbour(each.row, each.distance) for each in line]}
            for example, line in zip(wrong, near, strict=True)
        ]

    def _picture(self, name: str, caption: str) -> Path:
        self.pictures.append({"file": f"{FOLDER}/{name}.png", "caption": caption})
        return self._folder / f"{name}.png"

    def _label(self, split: Split, row: int) -> str:
        label = split.labels[row]
        return f"{label:.4g}" if self._spec.is_regression else self._spec.classes[label]

    def _described(self, example: Example) -> dict[str, Any]:
        test, predicted = self._of.test, self._of.predictions[example.row]
        about = {"kind": example.kind, "entity": test.entities[example.row], "row": example.row}
        if self._spec.is_regression:
            return about | {"true": float(test.labels[example.row]), "predicted": float(predicted)}
        label, probability = self._spec.classes[example.target], float(predicted[example.target])
        return about | {"true": self._label(test, example.row), "predicted": label, "probability": probability}

    def _caption(self, example: Example, between: str = "\n") -> str:
        said = self._described(example)
        if self._spec.is_regression:
            predicted = f"{said['predicted']:.4g}"
        else:
            predicted = f"{said['predicted']} ({said['probability']:.0%})"
        return between.join(
            (f"true: {self._label(self._of.test, example.row)}", f"predicted: {predicted}", _end(said["entity"]))
        )

    def _against(self, example: Example, typical: float) -> str:
        shown = f"{typical:.4g}" if self._spec.is_regression else f"{typical:.0%}"
        return f"{self._caption(example, ' · ')} · typical row: {shown}"

    def _neighbour(self, row: int, distance: float) -> dict[str, Any]:
        train = self._of.train
        return {"entity": train.entities[row], "label": self._label(train, row), "distance": distance}


def _end(name: str, letters: int = 24) -> str:
    return name if len(name) <= letters else f"…{name[1 - letters :]}"


def _by_kind(chosen: Sequence[Example]) -> list[tuple[str, list[Example]]]:
    parts = [(kind, [example for example in chosen if example.kind == kind]) for kind in _SEEN]
    return [(kind, part) for kind, part in parts if part]


def _numbers(chosen: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([example.row for example in chosen]), np.array([example.target for example in chosen])


def _log_loss(labels: np.ndarray, predictions: np.ndarray) -> float:
    true = predictions[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(true, _EPSILON, 1)).mean())


def _mae(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(np.abs(predictions[:, 0].astype(np.float64) - labels).mean())
