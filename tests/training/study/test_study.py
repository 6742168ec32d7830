"""A study is exact: so many trials, each ended, whatever happens to the workers; and its samplers keep to the space."""

import math
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from tasks.core.config import replace
from tasks.core.errors import BadInput
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Tuning
from tasks.training.study import study as study_module
from tasks.training.study.attempt import Attempt, Result
from tasks.training.study.samplers import STARTUP_TRIALS
from tasks.training.study.space import lies_in
from tasks.training.study.storage import storage_url
from tasks.training.study.study import Study, as_study
from tests.digits import project
from tests.servers.postgres import Postgres

NUMBERS = {
    "training.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "training.batch_size": {"low": 8, "high": 16, "integer": True, "step": 4},
    "model.dropout": {"low": 0, "high": 0.5, "step": 0.25},
}
CHOICES = {
    "model.units": {"values": [[16], [32, 16]]},
    "training.optimizer": {"values": ["adam", "momentum"]},
    "training.momentum": {"low": 0.5, "high": 0.9, "step": 0.2, "when": {"training.optimizer": ["momentum"]}},
}
SPACES: Mapping[str, Mapping[str, Any]] = {
    "grid": {name: space for name, space in (NUMBERS | CHOICES).items() if name != "training.learning_rate"},
    "random": NUMBERS | CHOICES,
    "tpe": NUMBERS | CHOICES,
    "cmaes": NUMBERS,
    "nsga2": NUMBERS | CHOICES,
}

WORKER = """
import os, signal, sys
from pathlib import Path
from tasks.core.spec import Tuning
from tasks.training.study.attempt import Attempt, Result
from tasks.training.study.study import Study
tuning, worker, killed, silent = Tuning.model_validate_json(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
def objective(attempt: Attempt) -> Result:
    attempt.judge(1, 0.5, is_last=False)
    with Path(sys.argv[5]).open("a") as told:
        told.write(f"{attempt.number} {attempt.params['model.dropout']}\\n")
    if attempt.number == killed:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(attempt.params["model.dropout"], 0.1, 1, {})
Study("shared", tuning, worker, silent=float(silent)).work(objective, waits=worker == "worker-00")
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(home: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the studies are, as the settings say it."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        monkeypatch.setenv("UPDRAFT_STUDY_DATABASE_URL", server.database())
        settings.cache_clear()
    return str(request.param)


def tuning(**changes: Any) -> Tuning:
    space = {"model.dropout": {"low": 0, "high": 0.5}}
    return Tuning.model_validate({"space": space, "trials": 3, "seed": 5} | changes)


def by_dropout(attempt: Attempt) -> Result:
    return Result(-abs(attempt.params.get("model.dropout", 0) - 0.4), 0.1, 1, {"latency": 1.0, "size": 10.0})


def run(name: str, tuned: Tuning, objective: Any = by_dropout, worker: str = "worker-00", **options: Any) -> Study:
    found = Study(name, tuned, worker, **options)
    found.work(objective, waits=worker == "worker-00")
    return found


def params(study: Study) -> list[dict[str, Any]]:
    return [outcome["params"] for outcome in study.outcomes()]


def states(name: str) -> Counter[str]:
    return Counter(trial.state.name for trial in optuna.load_study(study_name=name, storage=storage_url()).trials)


@pytest.mark.parametrize("sampler", SPACES)
def test_samplers_keep_to_the_space_and_draw_the_same_again(home: Path, sampler: str) -> None:
    objectives = ("score", "latency", "size") if sampler == "nsga2" else ("score",)
    tuned = tuning(sampler=sampler, objectives=objectives, space=SPACES[sampler], trials=STARTUP_TRIALS + 3)
    found = params(run("first", tuned))
    assert len(found) == tuned.trials
    spec = project({"tuning.space": SPACES[sampler]})
    for each in found:
        always = {name for name, space in tuned.space.items() if not space.when}
        conditional = {"training.momentum"} if each.get("training.optimizer") == "momentum" else set()
        assert each.keys() == always | conditional
        assert all(lies_in(tuned.space[name], value) for name, value in each.items())
        assert replace(spec, each).training.batch_size == each["training.batch_size"]
    assert len({str(each) for each in found}) > 3
    assert params(run("again", tuned)) == found


def test_the_first_trials_depend_on_seed_and_number_alone(home: Path) -> None:
    best, worst = run("a", tuning()), run("b", tuning(trials=2), lambda attempt: Result(0.0, 1.0, 1, {}))
    assert params(best)[:2] == params(worst)
    assert params(run("c", tuning(seed=6))) != params(best)


def test_later_trials_learn_from_earlier_ones(home: Path) -> None:
    found = [each["model.dropout"] for each in params(run("a", tuning(trials=STARTUP_TRIALS + 8)))]
    random, guided = found[:STARTUP_TRIALS], found[STARTUP_TRIALS:]
    assert sum(abs(x - 0.4) for x in guided) / len(guided) < sum(abs(x - 0.4) for x in random) / len(random)


def test_a_grid_ends_with_its_last_point_and_an_empty_space_with_one_trial(home: Path) -> None:
    grid = tuning(sampler="grid", trials=50, space={"model.dropout": {"values": [0.1, 0.2]}})
    assert params(run("grid", grid)) == [{"model.dropout": 0.1}, {"model.dropout": 0.2}]
    assert params(run("empty", tuning(space={}, trials=50))) == [{}]


def test_cmaes_names_the_field_that_is_no_number(home: Path) -> None:
    with pytest.raises(BadInput, match=r"model\.units is a choice"):
        Study("a", tuning(sampler="cmaes", space=CHOICES), "worker-00")


def test_asking_for_more_keeps_those_that_ran_and_for_fewer_leaves_them_out(home: Path) -> None:
    three = run("a", tuning())
    five = run("a", tuning(trials=5))
    assert five.outcomes()[:3] == three.outcomes()
    assert states("a") == {"COMPLETE": 5}
    assert run("a", tuning(trials=2)).outcomes() == three.outcomes()[:2]


def test_no_trial_starts_after_the_minutes_but_the_first(home: Path) -> None:
    assert len(run("a", tuning(minutes=1e-9)).outcomes()) == 1


def test_a_refused_combination_fails_and_the_study_goes_on(home: Path) -> None:
    def refuse(attempt: Attempt) -> Result:
        if attempt.number == 1:
            raise BadInput("30 is no multiple of 4")
        return by_dropout(attempt)

    found = run("a", tuning(), refuse).outcomes()
    assert [outcome["state"] for outcome in found] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert (found[1]["value"], found[1]["loss"], found[1]["why"]) == (None, None, "30 is no multiple of 4")


def test_an_unexpected_error_puts_its_trial_back(home: Path) -> None:
    seen: list[float] = []

    def objective(attempt: Attempt) -> Result:
        seen.append(attempt.params["model.dropout"])
        if len(seen) == 2:
            raise ConnectionError("the store is gone")
        return by_dropout(attempt)

    with pytest.raises(ConnectionError):
        run("a", tuning(), objective)
    assert states("a") == {"COMPLETE": 1, "WAITING": 1}
    assert params(run("a", tuning(), objective, "worker-01")) == [{"model.dropout": x} for x in (seen[0], *seen[2:])]
    assert seen[1] == seen[2]
    assert states("a") == {"COMPLETE": 3}


def test_a_diverged_trial_ends_at_once(home: Path) -> None:
    def diverge(attempt: Attempt) -> Result:
        assert attempt.judge(1, math.nan, is_last=False)
        return Result(math.nan, math.nan, 1, {})

    (outcome,) = run("a", tuning(trials=1), diverge).outcomes()
    assert (outcome["state"], outcome["value"], outcome["loss"], outcome["scores"]) == ("PRUNED", None, None, [None])


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_pruners_end_what_is_worse_and_keep_the_best(home: Path, pruner: str) -> None:
    def objective(attempt: Attempt) -> Result:
        score = 1 - attempt.number / 10
        for epoch in range(1, 10):
            if attempt.judge(epoch, score + epoch / 100, is_last=epoch == 9):
                break
        return Result(score + epoch / 100, 1.0, epoch, {})

    found = run("a", tuning(trials=10, epochs=9, pruner=pruner), objective).outcomes()
    ended = Counter(outcome["state"] for outcome in found)
    assert ended["PRUNED"] >= 3
    assert ended["PRUNED"] + ended["COMPLETE"] == 10
    assert found[0]["state"] == "COMPLETE"
    assert [len(outcome["scores"]) for outcome in found] == [outcome["epochs"] for outcome in found]


def test_earlier_parameters_are_tried_first_as_far_as_they_lie_in_the_space(home: Path) -> None:
    earlier = {"model.dropout": 0.123, "model.activation": "relu"}
    assert params(run("a", tuning(), earlier=earlier))[0] == {"model.dropout": 0.123}
    outside = params(run("b", tuning(), earlier={"model.dropout": 0.9}))
    assert outside == params(run("c", tuning()))


def test_a_study_made_of_outcomes_is_the_study(home: Path) -> None:
    tuned = tuning(space=NUMBERS | CHOICES, trials=6)
    found = run("a", tuned)
    stored, made = optuna.load_study(study_name="a", storage=storage_url()), as_study(found.outcomes(), tuned)
    for one, other in zip(stored.trials, made.trials, strict=True):
        assert (one.params, one.distributions, one.value) == (other.params, other.distributions, other.value)


def test_a_study_of_several_objectives_has_a_pareto_front(home: Path) -> None:
    tuned = tuning(sampler="nsga2", objectives=("score", "size"), trials=4)

    def objective(attempt: Attempt) -> Result:
        return Result(float(attempt.number), 1.0, 1, {"size": float(attempt.number), "latency": 9.0})

    found = run("a", tuned, objective).outcomes()
    assert found[2]["objectives"] == {"score": 2.0, "size": 2.0}
    assert [trial.number for trial in as_study(found, tuned).best_trials] == [0, 1, 2, 3]


@pytest.mark.slow
def test_four_workers_run_each_trial_once(database: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    workers = [start(tuning(trials=12), f"worker-{number:02d}", told) for number in range(4)]
    outputs = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, outputs
    numbers = [int(line.split()[0]) for line in told.read_text().splitlines()]
    assert sorted(numbers) == list(range(12))
    assert states("shared") == {"COMPLETE": 12}
    assert params(Study("shared", tuning(trials=10), "worker-00")) == params(run("alone", tuning(trials=10)))


@pytest.mark.slow
@pytest.mark.parametrize("after", ["worker-01", "worker-00"], ids=["its retry", "another worker"])
def test_a_killed_worker_s_trial_goes_on_and_counts_once(database: str, after: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    killed = start(tuning(trials=4), "worker-01", told, killed=2)
    assert killed.wait() == -signal.SIGKILL
    assert states("shared") == {"COMPLETE": 2, "RUNNING": 1}
    resumed = start(tuning(trials=4), after, told, silent=60 if after == "worker-01" else 0.5)
    assert resumed.wait() == 0, resumed.communicate()
    lines = told.read_text().splitlines()
    assert sorted(int(line.split()[0]) for line in lines) == [0, 1, 2, 2, 3]
    assert len({*lines}) == 4, "with the same parameters"
    assert states("shared") == {"COMPLETE": 4}
    assert [outcome["scores"] for outcome in Study("shared", tuning(trials=4), "any").outcomes()] == [[0.5]] * 4


def test_a_slow_worker_that_lives_keeps_its_trial(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "BEAT_SECONDS", 0.05)
    begun, may_end, seen = threading.Event(), threading.Event(), list[int]()

    def slow(attempt: Attempt) -> Result:
        seen.append(attempt.number)
        begun.set()
        assert may_end.wait(60)
        return by_dropout(attempt)

    worker = threading.Thread(target=run, args=("a", tuning(trials=1), slow, "worker-01"))
    worker.start()
    assert begun.wait(60)
    threading.Timer(3.0, may_end.set).start()
    run("a", tuning(trials=1), slow, silent=1.5)
    worker.join()
    assert seen == [0]
    assert states("a") == {"COMPLETE": 1}


def test_studies_and_registry_share_a_database(home: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDRAFT_DATABASE_URL", postgres.database())
    settings.cache_clear()
    for _ in range(2):
        Registry(settings().registry_url).close()
        assert len(run("a", tuning()).outcomes()) == 3
    assert storage_url().startswith("postgresql")


def test_a_database_that_is_not_there_is_named_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPDRAFT_STUDY_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/none")
    settings.cache_clear()
    with pytest.raises(BadInput, match="UPDRAFT_STUDY_DATABASE_URL") as caught:
        Study("a", tuning(), "worker-00")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("UPDRAFT_STUDY_DATABASE_URL", "mysql://me:secret@host/none")
    settings.cache_clear()
    with pytest.raises(BadInput, match="no address of a database that workers can share") as caught:
        storage_url()
    assert "secret" not in str(caught.value)


def start(tuned: Tuning, worker: str, told: Path, *, killed: int = -1, silent: float = 60) -> subprocess.Popen[str]:
    """A worker in a process of its own."""
    arguments = [tuned.model_dump_json(), worker, str(killed), str(silent), str(told)]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], env=dict(os.environ), stderr=subprocess.PIPE, text=True
    )
