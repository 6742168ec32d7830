"""The Optuna study that a project's trials share, whichever processes run them, in whatever order."""

import fcntl
import json
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from tasks.core.artifacts import digest_json
from tasks.core.settings import settings
from tasks.core.spec import Space, Tuning

STARTUP_TRIALS = 10
"""The first trials are random and know nothing of each other; later ones follow what was learned by then."""

_NUMBER = "number"


def storage_url() -> str:
    """The address of the studies' database; ``optuna-dashboard`` opens it as it is."""
    return f"sqlite:///{settings().home / 'optuna.db'}"


def run_trial(
    study_name: str, tuning: Tuning, number: int, objective: Callable[[Mapping[str, Any]], tuple[float, float]]
) -> dict[str, Any]:
    """Runs trial ``number`` of the study (made if it is not there) and tells it the outcome.

    Its parameters depend on the tuning section and ``number`` alone up to `STARTUP_TRIALS`; from there on the
    Tree-structured Parzen Estimator (Bergstra et al., 2011) proposes them from the trials that have ended, so they
    depend on which those are. What a killed attempt of the same number left running is marked as failed.

    Args:
        number: from 0; the caller's own, whatever number Optuna gives.
        objective: parameters (dotted spec field to value) to the value to maximize and the loss.

    Returns:
        ``number``, ``params``, ``value`` and ``loss``.
    """
    study = _open(study_name, _sampler(tuning.seed, number))
    for earlier in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if earlier.user_attrs.get(_NUMBER) == number:
            study.tell(earlier.number, state=TrialState.FAIL)
    trial = study.ask()
    trial.set_user_attr(_NUMBER, number)
    try:
        params = {field: _suggest(trial, field, space) for field, space in sorted(tuning.space.items())}
        value, loss = objective(params)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    trial.set_user_attr("loss", loss)
    study.tell(trial, value)
    return {"number": number, "params": params, "value": value, "loss": loss}


def _open(name: str, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    """One process at a time makes the tables: Optuna looks for them first, then makes them, and two may both look."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings().home.mkdir(parents=True, exist_ok=True)
    with (settings().home / "optuna.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        storage = optuna.storages.RDBStorage(storage_url(), engine_kwargs={"connect_args": {"timeout": 60}})
        return optuna.create_study(
            study_name=name, storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
        )


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    own = int(digest_json([seed, number])[:8], 16)
    if number < STARTUP_TRIALS:
        return optuna.samplers.RandomSampler(seed=own)
    return optuna.samplers.TPESampler(seed=own, n_startup_trials=STARTUP_TRIALS, constant_liar=True)


def _suggest(trial: optuna.Trial, field: str, space: Space) -> Any:
    if space.values is not None:
        # Optuna keeps choices as JSON scalars; a choice may be a list (model.units).
        return json.loads(trial.suggest_categorical(field, [json.dumps(value) for value in space.values]))
    assert space.low is not None and space.high is not None, "the spec checks this"
    if space.integer:
        return trial.suggest_int(field, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(field, space.low, space.high, log=space.log)
