"""Trials are the same in any process, judged on validation rows alone, resumed to the bit, and searched once."""

import logging
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest

from tasks.core.artifacts import Manifest
from tasks.core.errors import StageFailed
from tasks.core.pipeline import worker_name
from tasks.core.settings import settings
from tasks.training.study import earlier
from tasks.training.study.storage import storage_url
from tests import warm
from tests.digits import open_platform, project

TARGET = "tasks.training.tune:tune"
ROWS = 200
SHORT = {"tuning.trials": 1, "tuning.epochs": 1}
LONG = {"tuning.trials": 2, "tuning.epochs": 6}


def run(changes: dict[str, Any] | None = None, worker: int = 0, rows: int = ROWS) -> Manifest:
    """Executes the stage as one worker."""
    platform, spec = open_platform(), project(changes)
    return platform.run(TARGET, spec, worker_name(worker), **platform.data(spec, rows))


def start(changes: dict[str, Any], worker: int = 0, home: Path | None = None) -> warm.Child:
    """The same in a process of its own, its log and last its manifest on stdout."""
    return warm.start(_tell, changes, worker, UPDRAFT_HOME=str(home or settings().home))


def _tell(changes: dict[str, Any], worker: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    print("\n" + run(changes, worker=worker).to_json(), flush=True)


def told(manifest: Manifest, *names: str) -> list[list[Any]]:
    return [[trial[name] for name in names or trial] for trial in manifest.metrics["trials"]]


def states() -> list[str]:
    (name,) = optuna.get_all_study_names(storage_url())
    return [trial.state.name for trial in optuna.load_study(study_name=name, storage=storage_url()).trials]


@pytest.mark.slow
def test_trials_are_the_same_whichever_worker_runs_them_in_whichever_process(home: Path, tmp_path: Path) -> None:
    here = run()
    there = start({}, worker=1, home=tmp_path / "fresh")
    code, out = there.wait()
    assert code == 0, out
    assert '"trials": []' in out, "the first worker tells of all"
    first = start({}, home=tmp_path / "fresh")
    code, out = first.wait()
    assert code == 0, out
    collected = Manifest.model_validate_json(out[out.index("\n{") :])
    assert (collected.key, collected.metrics) == (here.key, here.metrics)
    assert "trial 0" not in out
    assert not [*open_platform().store.list("digits/checkpoints")]


@pytest.mark.slow
def test_asking_for_more_trials_keeps_those_that_ran(home: Path) -> None:
    first, two = run(SHORT), SHORT | {"tuning.trials": 2}
    second = run(two)
    assert second.metrics["trials"][:1] == first.metrics["trials"]
    assert (first.metrics["study"], states()) == (second.metrics["study"], ["COMPLETE"] * 2)
    assert run(two).cache == "HIT"


def test_the_test_split_is_never_seen(home: Path) -> None:
    platform, spec = open_platform(), project(SHORT)
    data = platform.data(spec, ROWS)
    for (manifest,) in data.values():
        gone = [path for path in (settings().home / "store" / manifest.folder).glob("test*")]
        assert gone
        for path in gone:
            path.unlink()
    assert platform.run(TARGET, spec, worker_name(0), **data).metrics["best"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manifest]:
    """What `LONG` comes to when nobody is killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(tmp_path_factory.mktemp("undisturbed")))
        settings.cache_clear()
        found = run(LONG)
    settings.cache_clear()
    yield found


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_worker_killed_in_the_middle_of_a_trial_loses_nothing(
    undisturbed: Manifest,
    home: Path,
    database: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if database == "postgresql":
        monkeypatch.setenv("UPDRAFT_STUDY_DATABASE_URL", request.getfixturevalue("postgres").database())
        settings.cache_clear()
    killed = start(LONG)
    for line in killed.output:
        if line.startswith("trial 1: epoch 3"):
            break
    killed.process.kill()
    assert killed.wait()[0] == -signal.SIGKILL
    assert states() == ["COMPLETE", "RUNNING"]
    resumed = start(LONG)
    code, out = resumed.wait()
    assert code == 0, out
    assert "trial 1: epoch 6" in out
    assert "trial 1: epoch 2" not in out, "it goes on from its checkpoint"
    assert "trial 0: " not in out
    assert states() == ["COMPLETE", "COMPLETE"]
    assert Manifest.model_validate_json(out[out.index("\n{") :]).metrics["trials"] == undisturbed.metrics["trials"]


@pytest.mark.slow
def test_each_epoch_feeds_the_pruner(home: Path) -> None:
    space = {"training.learning_rate": {"values": [0.01, 1e-6]}}
    found = run({"tuning.sampler": "grid", "tuning.space": space, "tuning.pruner": "asha", "tuning.epochs": 4})
    good, bad = found.metrics["trials"]
    assert (good["state"], good["epochs"], len(good["scores"])) == ("COMPLETE", 4, 4)
    assert (bad["state"], bad["epochs"], bad["scores"]) == ("PRUNED", 1, [bad["value"]])
    assert found.metrics["best"] == good["params"]


@pytest.mark.slow
def test_cross_validation_judges_by_the_mean_over_the_folds(home: Path) -> None:
    found = run(SHORT | {"tuning.cross_validate": True, "split.folds": 3})
    (trial,) = found.metrics["trials"]
    assert trial["epochs"] == 3
    assert len(trial["scores"]) == 3
    assert trial["value"] == trial["scores"][-1]
    single = run(SHORT | {"split.folds": 3}).metrics["trials"][0]
    assert (single["params"], single["value"] != trial["value"]) == (trial["params"], True)


@pytest.mark.slow
def test_several_objectives_weigh_score_latency_and_size(home: Path) -> None:
    space = {"model.units": {"values": [[4], [256, 256]]}}
    objectives = {"tuning.sampler": "nsga2", "tuning.objectives": ("score", "latency", "size")}
    found = run(SHORT | objectives | {"tuning.trials": 4, "tuning.space": space}).metrics["trials"]
    sizes = {str(trial["params"]["model.units"]): trial["objectives"]["size"] for trial in found}
    assert sizes["[256, 256]"] > 10 * sizes["[4]"] > 0
    for trial in found:
        assert trial["objectives"]["score"] == trial["value"]
        assert 0 < trial["objectives"]["latency"] < 1000


@pytest.mark.slow
def test_what_cannot_be_trained_is_told_and_the_study_goes_on(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    space = {"training.loss": {"values": ["mse", "cross_entropy"]}, "training.label_smoothing": {"values": [0.1]}}
    changes = SHORT | {"tuning.trials": 2, "tuning.sampler": "grid", "tuning.space": space}
    with caplog.at_level("INFO", "updraft"):
        found = run(changes)
    assert told(found, "state") == [["FAIL"], ["COMPLETE"]]
    assert "label_smoothing goes with cross_entropy" in found.metrics["trials"][0]["why"]
    assert "label_smoothing goes with cross_entropy" in caplog.text


def test_a_study_without_a_score_is_a_failure_that_says_why(home: Path) -> None:
    space = {"training.loss": {"values": ["mse"]}, "training.label_smoothing": {"values": [0.1]}}
    with pytest.raises(StageFailed, match="label_smoothing goes with cross_entropy"):
        run({"tuning.sampler": "grid", "tuning.space": space})


@pytest.mark.slow
def test_new_data_begins_with_the_last_study_s_best_and_old_data_is_a_hit(home: Path) -> None:
    two = SHORT | {"tuning.trials": 2}
    first = run(two)
    assert first.parts["outside"] == {"earlier": None}
    assert (run(two).cache, run(two, worker=1).cache) == ("HIT", "MISS")
    second = run(two, rows=220)
    assert second.metrics["trials"][0]["params"] == first.metrics["best"]
    assert second.metrics["study"] != first.metrics["study"]
    assert run(two, rows=220).cache == "HIT"
    assert run(SHORT | {"tuning.trials": 3}, rows=220).metrics["trials"][:2] == second.metrics["trials"]


@pytest.mark.slow
def test_within_the_interval_new_data_takes_the_last_study_s_parameters(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekly = SHORT | {"tuning.retune_every": 7}
    searched = run(weekly)
    assert "reused" not in searched.metrics
    for rows, days in ((220, 3), (240, 6)):
        later = searched.created_at + timedelta(days=days)
        monkeypatch.setattr(earlier, "_now", lambda later=later: later)
        reused = run(weekly, rows=rows)
        assert reused.metrics["reused"]["study"] == searched.metrics["study"]
        assert reused.metrics["reused"]["searched_at"] == searched.created_at.isoformat()
        assert reused.metrics["trials"] == searched.metrics["trials"]
        assert run(weekly, worker=1, rows=rows).metrics["trials"] == []
    monkeypatch.setattr(earlier, "_now", lambda: searched.created_at + timedelta(days=8))
    assert run(weekly, rows=240).cache == "HIT", "no new data, nothing to search for"
    assert "reused" not in run(weekly, rows=260).metrics
    other = weekly | {"tuning.epochs": 2}
    assert "reused" not in run(other, rows=280).metrics, "another search was asked for"


def test_a_lost_artifact_is_made_again_without_a_trial(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = run(SHORT)
    open_platform().store.delete(first.folder)
    caplog.clear()
    with caplog.at_level("INFO", "updraft"):
        again = run(SHORT)
    assert "MISS" in caplog.text
    assert (again.cache, again.metrics) == ("MISS", first.metrics)
    assert "trial 0" not in caplog.text
