"""The Optuna study that a project's workers share, on however many hosts, however often they are killed.

Workers claim trials one at a time under the database's lock, so the budget is exact: Optuna's numbers from 0 up to the
number of trials asked for are all there is. Whoever runs a trial leaves a sign of life; one without is taken over, the
same trial with the same parameters, and goes on from its checkpoint.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tasks.core.errors import BadInput
from tasks.core.spec import Tuning
from tasks.training.study.attempt import Attempt, Result
from tasks.training.study.samplers import budget, make_pruner, make_sampler
from tasks.training.study.space import Params, decoded, distribution, encoded, lies_in, suggest
from tasks.training.study.storage import exclusive, open_storage, storage_url

BEAT_SECONDS = 10.0
"""How often a worker's sign of life is renewed."""

SILENT_SECONDS = 60.0
"""A trial without one for this long has lost its worker."""

_ALIVE, _RESULT, _WHY, _BEGAN = "worker", "result", "why", "began"
_POLL_SECONDS = 1.0


class Study:
    """One study, opened by one worker.

    Args:
        name: made if there is none.
        worker: its own trials, left by an earlier attempt of it that was killed, it takes over at once.
        earlier: parameters to try first, as far as they lie in the space.
        silent: seconds after which another worker's trial is taken over.

    Raises:
        BadInput: the sampler cannot search the space, or the database cannot be reached.
    """

    def __init__(
        self, name: str, tuning: Tuning, worker: str, earlier: Params | None = None, silent: float = SILENT_SECONDS
    ) -> None:
        self._name, self._tuning, self._worker, self._silent = name, tuning, worker, silent
        self._budget, self._url = budget(tuning), storage_url()
        first = {k: v for k, v in (earlier or {}).items() if k in tuning.space and lies_in(tuning.space[k], v)}
        self._first = encoded(tuning.space, first)
        self._signs: dict[int, tuple[Any, float]] = {}
        self._claimed: set[int] = set()
        sampler = make_sampler(tuning, 0, self._first)
        self._storage = open_storage(self._url)
        with exclusive(self._url, name):
            self._study = optuna.create_study(
                study_name=name,
                storage=self._storage,
                sampler=sampler,
                pruner=make_pruner(tuning),
                directions=_directions(tuning),
                load_if_exists=True,
            )
            if _BEGAN not in self._study.user_attrs:
                self._study.set_user_attr(_BEGAN, datetime.now(UTC).isoformat())
        self._study_id = self._storage.get_study_id_from_name(name)
        self._began = datetime.fromisoformat(self._study.user_attrs[_BEGAN])

    def work(self, objective: Callable[[Attempt], Result], *, waits: bool = False) -> None:
        """Runs trials until the budget is used up.

        A combination that ``objective`` refuses with `BadInput` ends its trial as failed, and the study goes on.

        Args:
            waits: until the other workers' trials have ended too; those of workers that died are taken over.
        """
        while True:
            attempt = self._claim()
            if attempt is not None:
                self._run(attempt, objective)
            elif waits and self._trials(TrialState.RUNNING):
                time.sleep(min(_POLL_SECONDS, self._silent))
            else:
                return

    def outcomes(self) -> list[dict[str, Any]]:
        """The trials that have ended, by number: what a manifest tells of them.

        Each has ``number``, ``params``, ``state`` (COMPLETE, PRUNED or FAIL), ``value`` (the score; of a pruned trial
        the last; None of a failed one), ``loss``, ``epochs`` and ``scores`` (after each epoch); of nsga2
        ``objectives``; of a failed one ``why``.
        """
        ended = self._trials(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return [_outcome(trial, self._tuning) for trial in ended if trial.number < self._budget]

    def _claim(self) -> Attempt | None:
        """A trial of our own from here on, or None: nothing is left to start."""
        with exclusive(self._url, self._name):
            trials = self._trials()
            if not trials and self._first and self._tuning.sampler != "grid":
                self._study.enqueue_trial(self._first)
                trials = self._trials()
            for left in filter(self._is_left, trials):
                self._requeue(left.number)
            waiting = [t for t in trials if t.state == TrialState.WAITING or self._is_left(t)]
            if not waiting and not self._may_start(len(trials)):
                return None
            number = waiting[0].number if waiting else len(trials)
            self._study.sampler = make_sampler(self._tuning, number, self._first)
            trial = self._study.ask()
            self._show_life(trial)
            self._claimed.add(number)
        reported = set(waiting[0].intermediate_values) if waiting else set()
        params = suggest(trial, self._tuning.space)
        return Attempt(trial, params, reported, can_prune=len(self._tuning.objectives) == 1)

    def _may_start(self, number: int) -> bool:
        if number >= self._budget:
            return False
        limit = self._tuning.minutes
        return number == 0 or limit is None or datetime.now(UTC) - self._began < timedelta(minutes=limit)

    def _is_left(self, trial: FrozenTrial) -> bool:
        """Whether the trial's worker is gone: killed as it claimed, an earlier attempt of this one, or silent.

        What counts is for how long this process has seen no new sign, so that no two clocks are compared.
        """
        if trial.state != TrialState.RUNNING:
            return False
        sign = trial.user_attrs.get(_ALIVE)
        if sign is None or (sign["name"] == self._worker and trial.number not in self._claimed):
            return True
        known, since = self._signs.get(trial.number, (None, 0.0))
        if sign != known:
            self._signs[trial.number] = sign, time.monotonic()
            return False
        return time.monotonic() - since > self._silent

    def _requeue(self, number: int) -> None:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(self._id(number), TrialState.WAITING)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _run(self, attempt: Attempt, objective: Callable[[Attempt], Result]) -> None:
        with self._alive(attempt.trial):
            try:
                result = objective(attempt)
            except BadInput as error:
                self._end(attempt, TrialState.FAIL, {_WHY: str(error)})
            except BaseException:
                self._claimed.discard(attempt.number)
                self._requeue(attempt.number)
                raise
            else:
                self._end(
                    attempt,
                    TrialState.PRUNED if attempt.pruned else TrialState.COMPLETE,
                    {_RESULT: {"score": result.score, "loss": _number(result.loss), "epochs": result.epochs}},
                    [result.score, *(result.objectives[name] for name in self._tuning.objectives[1:])],
                )

    def _end(
        self, attempt: Attempt, state: TrialState, told: Mapping[str, Any], values: Sequence[float] | None = None
    ) -> None:
        # Taken for dead, this worker may find that another one has ended the trial, as it would have.
        with suppress(UpdateFinishedTrialError):
            for name, value in told.items():
                attempt.trial.set_user_attr(name, value)
            # Not the study's own `tell`: that reads the whole trial twice, which is half of what a trial costs.
            values = values if state == TrialState.COMPLETE else None
            self._storage.set_trial_state_values(self._id(attempt.number), state, values)

    def _show_life(self, trial: optuna.Trial) -> None:
        trial.set_user_attr(_ALIVE, {"name": self._worker, "seen": datetime.now(UTC).isoformat()})

    @contextmanager
    def _alive(self, trial: optuna.Trial) -> Iterator[None]:
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_SECONDS):
                with suppress(UpdateFinishedTrialError):
                    self._show_life(trial)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)


def as_study(outcomes: Sequence[Mapping[str, Any]], tuning: Tuning) -> optuna.Study:
    """A study in memory of what `Study.outcomes` told: what Optuna's plots take."""
    study = optuna.create_study(directions=_directions(tuning))
    for outcome in sorted(outcomes, key=lambda outcome: outcome["number"]):
        params = {field: value for field, value in outcome["params"].items() if field in tuning.space}
        scores = {step: math.nan if score is None else score for step, score in enumerate(outcome["scores"], start=1)}
        state = TrialState[outcome["state"]]
        others = [outcome["objectives"][name] for name in tuning.objectives[1:]] if "objectives" in outcome else []
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params=encoded(tuning.space, params),
                distributions={field: distribution(tuning.space[field]) for field in params},
                values=[outcome["value"], *others] if state == TrialState.COMPLETE else None,
                intermediate_values=scores if len(tuning.objectives) == 1 else {},
            )
        )
    return study


def _directions(tuning: Tuning) -> list[StudyDirection]:
    return [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * (len(tuning.objectives) - 1)]


def _outcome(trial: FrozenTrial, tuning: Tuning) -> dict[str, Any]:
    result = trial.user_attrs.get(_RESULT, {})
    told = {
        "number": trial.number,
        "params": decoded(tuning.space, trial.params),
        "state": trial.state.name,
        "value": _number(result.get("score")),
        "loss": result.get("loss"),
        "epochs": result.get("epochs", 0),
        "scores": [_number(score) for _, score in sorted(trial.intermediate_values.items())],
    }
    if len(tuning.objectives) > 1 and trial.state == TrialState.COMPLETE:
        told["objectives"] = dict(zip(tuning.objectives, trial.values, strict=True))
    return told | {name: trial.user_attrs[name] for name in (_WHY,) if name in trial.user_attrs}


def _number(value: float | None) -> float | None:
    """None for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None
