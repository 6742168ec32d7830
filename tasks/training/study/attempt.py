"""A trial as the one who trains it sees it: parameters in, scores and a result out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import optuna

from tasks.training.study.space import Params


@dataclass(frozen=True)
class Result:
    """What a trial came to.

    Attributes:
        score: what the study maximizes.
        loss: on the validation split.
        epochs: that it ran.
        objectives: nsga2's others, by name: to be minimized.
    """

    score: float
    loss: float
    epochs: int
    objectives: Mapping[str, float]


class Attempt:
    """A claimed trial while it runs.

    Attributes:
        number: of the trial in its study, from 0.
        params: dotted spec field to value.
        pruned: whether it was ended early.
        trial: Optuna's.
    """

    def __init__(self, trial: optuna.Trial, params: Params, reported: set[int], *, can_prune: bool) -> None:
        self.number, self.params, self.pruned = trial.number, params, False
        self.trial, self._reported, self._can_prune = trial, reported, can_prune

    def report(self, step: int, score: float) -> None:
        """Notes the score after ``step`` (from 1): once, also when a resumed trial repeats it."""
        if self._can_prune and step not in self._reported:
            self.trial.report(score, step)
            self._reported.add(step)

    def judge(self, step: int, score: float, *, is_last: bool) -> bool:
        """Reports the score.

        Returns:
            Whether to end the trial here: the score is no number, or the pruner says so before the last step.
        """
        self.report(step, score)
        hopeless = self._can_prune and not is_last and self.trial.should_prune()
        self.pruned = hopeless or not math.isfinite(score)
        return self.pruned
