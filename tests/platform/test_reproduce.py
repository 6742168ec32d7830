"""A card that cannot be made again is refused before anything runs; the pipeline's tests make one again."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import BadInput
from tasks.core.stages import Context, Outcome, execute
from tasks.platform.reproduce import other_libraries, read_card, reproduce
from tests.digits import open_platform, project
from tests.stages import stage

TRIALS = [{"number": 0, "params": {"model.dropout": 0.25}, "state": "COMPLETE", "value": 0.9}]


@stage("tune", reproducible=False)
def _tune(ctx: Context) -> Outcome:
    (ctx.out / "trials.json").write_text(json.dumps(TRIALS, indent=2))
    return Outcome(metrics={"trials": TRIALS})


def _card() -> dict[str, Any]:
    """One with a study, which stands in the store, and no data."""
    platform = open_platform()
    study = execute(_tune, project(), {}, store=platform.store, registry=platform.registry, partition="worker-00")
    return {
        "project": "digits",
        "spec": project().model_dump(mode="json"),
        "study": {"trials": 1, "told": [json.loads(study.to_json())]},
        "lineage": [],
        "data": {"partitions": []},
        "candidate": {"weights": ""},
        "environment": {"libraries": {"pytest": pytest.__version__, "keras": "0.1", "nothing-like-it": "2"}},
    }


def test_trials_other_than_those_that_were_run_are_refused(home: Path) -> None:
    card = _card()
    study = card["study"]["told"][0]
    open_platform().store.delete(f"digits/tune/{study['key']}")
    study["metrics"]["trials"][0]["params"]["model.dropout"] = 0.75
    with pytest.raises(BadInput, match="not those that were run"):
        reproduce(card, run_id="test")
    assert not open_platform().store.exists(f"digits/tune/{study['key']}/manifest.json")


def test_the_same_study_with_another_outcome_here_is_no_ground_to_build_on(home: Path) -> None:
    card = _card()
    card["study"]["told"][0]["outputs"]["trials.json"]["digest"] = "0" * 64
    with pytest.raises(BadInput, match="came to other trials") as refused:
        reproduce(card, run_id="test")
    assert "UPDRAFT_HOME" in refused.value.fix


def test_libraries_of_another_version_are_named(home: Path) -> None:
    keras, unknown = other_libraries(_card())
    assert keras.startswith("keras 0.1, here 3.") and unknown == "nothing-like-it 2, here none"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"project": "digits"}'])
def test_what_is_no_card_is_refused(home: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(BadInput, match="no model card"):
        read_card(str(tmp_path / "card.json"))
