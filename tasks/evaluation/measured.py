"""The numbers of the report: every model on the whole split, on slices and under tests, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.core.spec import Project
from tasks.evaluation.contenders import CHAMPION
from tasks.evaluation.intervals import Interval, Judged, Samples, differences, intervals, resample
from tasks.evaluation.metrics import Weighted, at_once, of_classes, of_numbers
from tasks.evaluation.slices import Group

BASELINE = "baseline"
UNDISTURBED = "undisturbed"
"""Stands among the robustness tests: the same rows as they are."""


@dataclass(frozen=True)
class Place:
    """Rows of the split, as models answered them.

    Attributes:
        rows: their numbers, int (n,).
        answers: model to what it says of them, float (n, classes) or (n,).
    """

    rows: np.ndarray
    answers: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Score:
    """One model in one place."""

    rows: int
    values: dict[str, float | None]
    samples: Samples = field(repr=False)


class Scores:
    """Everything that was measured, on the same resamples.

    Args:
        labels: of the whole split, (N,).
        whole: the models' answers for it.
        groups: slices of it.
        tests: robustness test to the rows that it disturbed.
    """

    def __init__(
        self,
        spec: Project,
        labels: np.ndarray,
        whole: Mapping[str, np.ndarray],
        groups: Sequence[Group],
        tests: Mapping[str, Place],
    ) -> None:
        self._groups, self._tests, self._confidence = groups, tests, spec.evaluation.confidence
        # A baseline is there to be beaten on the whole: slices are compared with the champion alone.
        packaged = {model: answers for model, answers in whole.items() if model != BASELINE}
        places: dict[Any, Place] = {None: Place(np.arange(len(labels)), whole)}
        for group in groups:
            places[_slice(group.name)] = Place(group.rows, {m: each[group.rows] for m, each in packaged.items()})
        places |= {_test(name): place for name, place in tests.items()}
        judge = of_numbers if spec.is_regression else of_classes
        judged = {
            (model, key): Judged(judge(labels[place.rows], answers), place.rows)
            for key, place in places.items()
            for model, answers in place.answers.items()
        }
        samples = resample(judged, len(labels), spec.evaluation.resamples)
        self._scores = {key: _score(each.weighted, len(each.rows), samples[key]) for key, each in judged.items()}

    def metrics(self, model: str) -> dict[str, float | None]:
        """A model's measures on the whole split."""
        return self._scores[model, None].values

    def against(self, model: str, other: str, place: Any = None) -> dict[str, Interval] | None:
        """Intervals of the differences to another model; None where one of the two was not measured."""
        one, two = self._scores.get((model, place)), self._scores.get((other, place))
        return differences(one.samples, two.samples, self._confidence) if one and two else None

    def measured(self, model: str) -> dict[str, Any]:
        """All of a model but its footprint and those it is held against."""
        whole = self._scores[model, None]
        tests = [name for name in self._tests if (model, _test(name)) in self._scores]
        return {
            "metrics": whole.values,
            "intervals": intervals(whole.samples, self._confidence),
            "slices": [self._on_slice(model, group) for group in self._groups],
            "robustness": {name: self._in_test(model, name) for name in tests},
        }

    def _on_slice(self, model: str, group: Group) -> dict[str, Any]:
        told = {"name": group.name, "found": group.p_value is not None, "p_value": group.p_value}
        return told | self._here(model, _slice(group.name))

    def _in_test(self, model: str, name: str) -> dict[str, Any]:
        return self._here(model, _test(name))

    def _here(self, model: str, place: Any) -> dict[str, Any]:
        score = self._scores[model, place]
        return {
            "rows": score.rows,
            "metrics": score.values,
            "intervals": intervals(score.samples, self._confidence),
            "against_champion": None if model == CHAMPION else self.against(model, CHAMPION, place),
        }


def _score(weighted: Weighted, rows: int, samples: Samples) -> _Score:
    return _Score(rows, at_once(weighted, rows), samples)


def _slice(name: str) -> tuple[str, str]:
    return "slice", name


def _test(name: str) -> tuple[str, str]:
    return "test", name
