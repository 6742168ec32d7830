"""Trials give the same answers in any order and any process, share one study, and leave none of theirs running."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import BadInput
from tasks.core.pipeline import trial_name
from tasks.training.study import STARTUP_TRIALS, run_trial, storage_url
from tests.digits import open_platform, project

TARGET = "tasks.training.tune:tune"
TUNING = project().tuning

FRESH = """
from tests.training.test_tune import run_trials
print(run_trials([2])[2].to_json())
"""

PROCESS = """
import json, sys
from tasks.core.spec import Tuning
from tasks.training.study import run_trial
tuning, number = Tuning.model_validate_json(sys.argv[1]), int(sys.argv[2])
print(json.dumps(run_trial("shared", tuning, number, lambda params: (params["model.dropout"], number / 10))))
"""

KILLED = """
import os, signal, sys
from tasks.core.spec import Tuning
from tasks.training.study import run_trial
tuning = Tuning.model_validate_json(sys.argv[1])
run_trial("killed", tuning, 3, lambda params: os.kill(os.getpid(), signal.SIGKILL))
"""


def _dropout(number: int, study: str = "a", seed: int = 0) -> float:
    tuning = TUNING.model_copy(update={"seed": seed})
    return run_trial(study, tuning, number, lambda params: (0.5, 0.5))["params"]["model.dropout"]


def _states(study: str) -> list[TrialState]:
    return [trial.state for trial in optuna.load_study(study_name=study, storage=storage_url()).trials]


def run_trials(numbers: list[int]) -> dict[int, Manifest]:
    """Executes the stage for each trial, in the order given."""
    platform, spec = open_platform(), project()
    data = platform.data(spec, 200)
    return {number: platform.run(TARGET, spec, trial_name(number), **data) for number in numbers}


@pytest.mark.slow
def test_a_trial_is_the_same_third_in_this_process_and_first_in_a_fresh_one(home: Path, tmp_path: Path) -> None:
    here = run_trials([0, 1, 2])
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "UPDRAFT_HOME": str(tmp_path / "fresh")}
    fresh = subprocess.run([sys.executable, "-c", FRESH], env=environment, capture_output=True, text=True)
    assert fresh.returncode == 0, fresh.stderr
    there = Manifest.model_validate_json(fresh.stdout)
    assert (there.key, there.metrics) == (here[2].key, here[2].metrics)


@pytest.mark.slow
def test_asking_for_more_trials_keeps_those_that_ran(home: Path) -> None:
    first = run_trials([0])[0]
    platform, more = open_platform(), project({"tuning.trials": 50})
    again = platform.run(TARGET, more, trial_name(0), **platform.data(more, 200))
    assert (again.cache, again.key) == ("HIT", first.key)
    platform.run(TARGET, more, trial_name(1), **platform.data(more, 200))
    (name,) = optuna.get_all_study_names(storage_url())
    assert _states(name) == [TrialState.COMPLETE] * 2


def test_parameters_depend_on_seed_and_number_alone(home: Path) -> None:
    assert _dropout(1, "a") == _dropout(1, "b") == _dropout(1, "a")
    assert len({_dropout(0), _dropout(1), _dropout(0, seed=1)}) == 3


def test_parameters_come_from_the_space_and_have_the_spec_s_types(home: Path) -> None:
    space = {
        "training.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
        "training.batch_size": {"low": 8, "high": 16, "integer": True},
        "model.units": {"values": [[16], [32, 16]]},
        "model.activation": {"values": ["relu", "gelu"]},
    }
    spec = project({"tuning.space": space})
    for number in range(4):
        params = run_trial("types", spec.tuning, number, lambda params: (0.5, 0.5))["params"]
        assert params.keys() == space.keys()
        assert 0.001 <= params["training.learning_rate"] <= 0.1
        assert params["training.batch_size"] in range(8, 17)
        assert params["model.units"] in ([16], [32, 16])
        assert params["model.activation"] in ("relu", "gelu")
        assert replace(spec, params).training.batch_size == params["training.batch_size"]


def test_later_trials_learn_from_earlier_ones(home: Path) -> None:
    def objective(params: dict[str, float]) -> tuple[float, float]:
        return -abs(params["model.dropout"] - 0.4), 0.0

    found = [run_trial("tpe", TUNING, n, objective)["params"]["model.dropout"] for n in range(STARTUP_TRIALS + 10)]
    random, guided = found[:STARTUP_TRIALS], found[STARTUP_TRIALS:]
    assert sum(abs(x - 0.4) for x in guided) / len(guided) < sum(abs(x - 0.4) for x in random) / len(random)


@pytest.mark.slow
def test_processes_share_a_study_that_none_of_them_found(home: Path) -> None:
    command = [sys.executable, "-c", PROCESS, TUNING.model_dump_json()]
    processes = [
        subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(6)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, outputs
    results = [json.loads(out) for out, _ in outputs]
    assert [result["number"] for result in results] == list(range(6))
    assert _states("shared") == [TrialState.COMPLETE] * 6


def test_a_killed_attempt_is_marked_failed_by_the_next(home: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, TUNING.model_dump_json()])
    assert killed.returncode == -signal.SIGKILL
    assert _states("killed") == [TrialState.RUNNING]
    run_trial("killed", TUNING, 4, lambda params: (0.5, 0.5))
    assert _states("killed") == [TrialState.RUNNING, TrialState.COMPLETE], "another trial's attempt is not ours to end"
    run_trial("killed", TUNING, 3, lambda params: (0.5, 0.5))
    assert _states("killed") == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


def test_a_failing_trial_is_marked_failed(home: Path) -> None:
    def fail(params: object) -> tuple[float, float]:
        raise BadInput("no such activation", "")

    with pytest.raises(BadInput):
        run_trial("failing", TUNING, 0, fail)
    assert _states("failing") == [TrialState.FAIL]
