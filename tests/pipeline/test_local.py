"""``updraft run digits``: real data through every stage in one process."""

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tasks.core.pipeline import FEATURES, TRAIN
from tests.pipeline.conftest import Installation, install

pytestmark = pytest.mark.slow


def test_every_stage_published_its_artifact(local: Installation) -> None:
    stages = {stage for stage, _ in local.manifests()}
    assert stages == {step.name for step in (*FEATURES, *TRAIN)}
    assert sum(stage == "ingest" for stage, _ in local.manifests()) == 8
    assert len(local.manifests()["tune", "worker-00"]["metrics"]["trials"]) == 6


def test_rows_balance_from_the_drops_to_the_dataset(local: Installation) -> None:
    manifests = local.manifests()
    rows = {stage: [m["rows"] for (s, _), m in manifests.items() if s == stage] for stage in ("ingest", "validate")}
    received, published, quarantined = (sum(r[k] for r in rows["validate"]) for k in ("in", "published", "quarantined"))
    assert received == sum(r["in"] for r in rows["ingest"]) >= 1797
    assert received == published + quarantined
    assert sum(manifests["dataset", None]["metrics"].values()) == published


def test_each_kind_of_dirt_is_named(local: Installation) -> None:
    reasons: set[str] = set()
    for (stage, _), manifest in local.manifests().items():
        if stage == "validate":
            reasons |= manifest["reasons"].keys()
    assert len(reasons) >= 4, reasons


def test_the_model_earned_its_promotion(local: Installation) -> None:
    report = local.manifests()["evaluate", None]["metrics"]
    assert report["candidate"]["accuracy"] >= 0.97
    assert report["candidate"]["accuracy"] > report["baseline"]["accuracy"]
    listed = local.updraft("models", "list", "digits", "--json")
    assert json.loads(listed.stdout)["champion"] is True


def test_running_again_is_all_hits_and_changes_nothing(local: Installation) -> None:
    before = local.manifests()
    again = local.updraft("run", "digits", "--json")
    assert again.returncode == 0, again.stderr
    manifests = json.loads(again.stdout)
    assert {m["cache"] for m in manifests} == {"HIT"}
    assert local.manifests() == before
    assert json.loads(local.updraft("models", "list", "digits", "--json").stdout)["version"] == 1


def test_a_candidate_that_fails_a_gate_is_refused_with_the_numbers(local: Installation) -> None:
    impossible = "gates=[{metric: accuracy, min: 1.0}, {metric: accuracy, min: 0.5}]"
    done = local.updraft("run", "digits", "--set", impossible)
    assert done.returncode == 1
    assert "Not promoted" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(local.updraft("models", "list", "digits", "--json").stdout)["champion"] is True


def test_where_the_spec_asks_a_person_the_run_waits_for_one(local: Installation) -> None:
    asks = ("run", "digits", "--set", "deployment.approval=true")
    waiting = local.updraft(*asks)
    assert waiting.returncode == 1
    assert "waits for a person's approval" in waiting.stderr and "--approve" in waiting.stderr
    approved = local.updraft(*asks, "--approve")
    assert approved.returncode == 0, approved.stderr
    assert local.updraft(*asks).returncode == 0, "nobody is asked twice"


def test_a_card_makes_its_model_again_in_an_empty_home(local: Installation, tmp_path: Path) -> None:
    done, found = reproduced(install(tmp_path), champions_card(local))
    assert done.returncode == 0, done.stderr
    assert all(each["same"] for each in found.values())
    assert {"ingest 2026-01-01", "materialize 2026-01-08", "dataset", "transform", "train", "weights"} <= found.keys()


def test_where_its_model_stands_what_differs_is_named(local: Installation, tmp_path: Path) -> None:
    done, found = reproduced(local, champions_card(local))
    assert done.returncode == 0, done.stderr
    card = json.loads(champions_card(local).read_text())
    (ingest,) = (link for link in card["lineage"] if (link["stage"], link["partition"]) == ("ingest", "2026-01-03"))
    ingest |= {"digest": "0" * 64, "key": "0" * 64}
    (tmp_path / "card.json").write_text(json.dumps(card))
    done, found = reproduced(local, tmp_path / "card.json")
    assert done.returncode == 1 and "1 of" in done.stderr and "ingest 2026-01-03" in done.stderr
    assert [each["why"] for each in found.values() if not each["same"]] == ["the source"]


def champions_card(of: Installation) -> Path:
    """The file with the card of its version 1."""
    shown = json.loads(of.updraft("models", "show", "digits", "1", "--json").stdout)
    return of.home / "store" / shown["card"].replace("manifest.json", "card.json")


def reproduced(where: Installation, card: Path) -> tuple[CompletedProcess[str], dict[str, Any]]:
    """What the command said there, and each artifact by name."""
    done = where.updraft("reproduce", str(card), "--json")
    return done, {each["name"]: each for each in json.loads(done.stdout)}


def test_no_path_of_this_machine_is_in_a_manifest(local: Installation) -> None:
    for manifest in local.manifests().values():
        assert str(local.home) not in json.dumps(manifest)


def test_nothing_half_made_is_left(local: Installation) -> None:
    assert list((local.home / "store" / ".partial").iterdir()) == []
    assert [p for p in (local.home / "work").iterdir() if p.is_dir() and any(Path(p).iterdir())] == []
