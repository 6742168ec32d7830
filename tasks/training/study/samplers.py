"""What proposes a trial's parameters, and what ends a trial early: a study's sampler and pruner by the spec's names."""

import itertools
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from tasks.core.artifacts import digest_json
from tasks.core.errors import BadInput
from tasks.core.spec import Tuning
from tasks.training.study.space import Params, encoded, grid

STARTUP_TRIALS = 10
"""The first trials are random and know nothing of each other; later ones follow what was learned by then."""

_REDUCTION = 4
"""One trial of so many goes on at each rung, after 1, 4, 16 epochs (Li et al., 2018)."""


def budget(tuning: Tuning) -> int:
    """How many trials the study has in all: one where nothing is searched, and no more than a grid has points."""
    if not tuning.space:
        return 1
    if tuning.sampler == "grid":
        return sum(1 for _ in itertools.islice(grid(tuning.space), tuning.trials))
    return tuning.trials


def make_sampler(tuning: Tuning, number: int, first: Params) -> BaseSampler:
    """The sampler of trial ``number``, seeded by `Tuning.seed`, the number, and what the study tries ``first``.

    The last, so that a study does not draw again what the one before it has drawn.

    - ``grid``: point ``number`` of all combinations.
    - ``random``: no trial knows of another.
    - ``tpe``: random up to `STARTUP_TRIALS`; from there on the Tree-structured Parzen Estimator (Bergstra et al.,
      2011), over all fields together, and over those of a condition where it holds; trials that still run count as
      bad ones, so that workers keep apart.
    - ``cmaes``: CMA-ES (Hansen and Ostermeier, 2001), over numbers only.
    - ``nsga2``: NSGA-II (Deb et al., 2002), in generations of `STARTUP_TRIALS`, the first of them random.

    Raises:
        BadInput: CMA-ES over a field that is no number.
    """
    seed = int(digest_json([tuning.seed, number, *([first] if first else [])])[:8], 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if tuning.sampler == "grid":
            return _Fixed(encoded(tuning.space, next(itertools.islice(grid(tuning.space), number, None))))
        if tuning.sampler == "cmaes":
            return _cmaes(tuning, seed)
        if tuning.sampler == "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=STARTUP_TRIALS, seed=seed)
        if tuning.sampler == "random" or number < STARTUP_TRIALS:
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(
            n_startup_trials=STARTUP_TRIALS, group=True, constant_liar=True, seed=seed, multivariate=True
        )


def make_pruner(tuning: Tuning) -> BasePruner:
    """The pruner, which counts epochs (of a cross-validation: folds).

    - ``median``: ends a trial below the median of the others at the same epoch, once 5 have ended.
    - ``asha``: asynchronous successive halving (Li et al., 2020): at each rung the best third goes on.
    - ``hyperband``: the same with several lengths of the first rung, side by side (Li et al., 2018).
    """
    if tuning.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5)
    if tuning.pruner == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_REDUCTION)
    if tuning.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=tuning.epochs, reduction_factor=_REDUCTION)
    return optuna.pruners.NopPruner()


def _cmaes(tuning: Tuning, seed: int) -> BaseSampler:
    for field, space in tuning.space.items():
        if space.values is not None:
            fix = "Give it low and high, or take another sampler: tpe draws choices as well."
            raise BadInput(f"tuning.space: {field} is a choice, and cmaes searches numbers only.", fix)
    return optuna.samplers.CmaEsSampler(
        seed=seed, warn_independent_sampling=False, consider_pruned_trials=tuning.pruner != "none"
    )


class _Fixed(BaseSampler):
    """Proposes what it was given."""

    def __init__(self, params: Params) -> None:
        self._params = params

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._params[param_name]
