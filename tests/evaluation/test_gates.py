"""Gates: the truth table, chance, the words, the choice of a form, and the one audit row."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.artifacts import Manifest
from tasks.core.settings import settings
from tasks.core.spec import Gate, Project
from tasks.core.stages import Context, Outcome, execute
from tasks.evaluation.gates import decide
from tasks.evaluation.verdicts import judge, sentence
from tests.digits import Platform, open_platform, project
from tests.reports import FOOTPRINT, everywhere, make_report, measured, part
from tests.servers.http import Inbox
from tests.stages import stage

share = st.floats(0, 1)
tolerance = st.floats(0, 0.2)


def passes(gate: Gate, report: Mapping[str, Any]) -> bool:
    """Whether the only verdict is a yes."""
    (verdict,) = judge(gate, report)
    return verdict["passed"]


@given(share, share)
def test_absolute_thresholds_include_the_threshold(value: float, threshold: float) -> None:
    assert passes(Gate(metric="accuracy", min=threshold), make_report(value)) == (value >= threshold)
    assert passes(Gate(metric="log_loss", max=threshold), make_report(value)) == (value <= threshold)


@given(share, share, st.floats(0, 0.1))
def test_a_baseline_has_to_be_beaten_by_more_than_chance(value: float, baseline: float, spread: float) -> None:
    value, baseline, spread = round(value, 6), round(baseline, 6), round(spread, 6)
    report = make_report(value, baseline, spread=spread)
    ahead = round(value - baseline - spread, 6), round(baseline - value - spread, 6)
    assert passes(Gate(metric="accuracy", beats="baseline"), report) == (ahead[0] > 0)
    assert passes(Gate(metric="log_loss", beats="baseline"), report) == (ahead[1] > 0)


@given(share, share, tolerance, st.floats(0, 0.1))
def test_a_champion_may_be_met_and_the_worse_end_of_the_interval_counts(
    value: float, champion: float, extra: float, spread: float
) -> None:
    value, champion, extra, spread = (round(number, 6) for number in (value, champion, extra, spread))
    report = make_report(value, champion=champion, spread=spread)
    for metric, sign in (("accuracy", 1), ("log_loss", -1)):
        worst = round(sign * (value - champion) - spread, 6)
        assert passes(Gate(metric=metric, beats="champion", tolerance=extra), report) == (worst >= -extra)


def test_the_same_weights_again_pass_without_any_tolerance() -> None:
    assert passes(Gate(metric="accuracy", beats="champion"), make_report(0.9, champion=0.9))


def test_noise_does_not_promote() -> None:
    report = make_report(0.91, baseline=0.9, champion=0.9, spread=0.03)
    assert not passes(Gate(metric="accuracy", beats="champion"), report)
    assert not passes(Gate(metric="accuracy", beats="baseline"), report)
    assert passes(Gate(metric="accuracy", beats="champion", tolerance=0.025), report)


@given(share)
def test_with_no_champion_there_is_none_to_beat(value: float) -> None:
    (verdict,) = judge(Gate(metric="accuracy", beats="champion"), make_report(value))
    assert verdict["passed"]
    assert verdict["threshold"] is None
    assert "no champion" in verdict["gate"]


@pytest.mark.parametrize(
    "gate",
    [{"min": 0.0}, {"max": 1.0}, {"beats": "baseline"}, {"beats": "champion"}],
    ids=lambda gate: next(iter(gate)),
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_never_passes(gate: dict[str, Any], value: float | None) -> None:
    assert not passes(Gate(metric="log_loss", **gate), make_report(value, champion=0.5))


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (Gate(metric="accuracy", min=0.97), "accuracy at least 0.97: 0.9000"),
        (Gate(metric="log_loss", max=0.2), "log_loss at most 0.2: 0.9000"),
        (Gate(metric="size_mib", max=1), "size_mib at most 1: 2.0000"),
        (
            Gate(metric="accuracy", beats="baseline"),
            "accuracy better than the baseline's: 0.9000 against 0.5000, a difference of +0.4000 "
            "(95% interval +0.3900 to +0.4100)",
        ),
        (
            Gate(metric="accuracy", beats="champion", tolerance=0.01),
            "accuracy at most 0.01 worse than the champion's, version 3: 0.9000 against 0.8000, a difference of "
            "+0.1000 (95% interval +0.0900 to +0.1100)",
        ),
        (
            Gate(metric="accuracy", on="dark", min=0.8),
            "accuracy on dark at least 0.8: 0.7000 over 40 rows",
        ),
    ],
)
def test_a_verdict_in_words_names_number_threshold_and_slice(gate: Gate, words: str) -> None:
    dark = {
        "name": "dark",
        "rows": 40,
        "found": False,
        "metrics": everywhere(0.7),
        "intervals": {},
        "against_champion": None,
    }
    (verdict,) = judge(gate, make_report(0.9, champion=0.8, spread=0.01, slices=[dark]))
    assert sentence(verdict) == words


def test_a_gate_on_slices_judges_each_but_those_that_chance_explains() -> None:
    slices = [
        part("dark", 0.95),
        part("faint", 0.7),
        part("lucky", 0.6, found=True, p_value=0.4),
        part("label = 8", 0.8, found=True, p_value=0.001),
    ]
    verdicts = judge(Gate(metric="accuracy", on="slices", min=0.9), make_report(0.97, slices=slices))
    assert {verdict["on"]: verdict["passed"] for verdict in verdicts} == {
        "dark": True,
        "faint": False,
        "label = 8": False,
    }


def test_a_gate_on_slices_of_which_there_are_none_says_so() -> None:
    (verdict,) = judge(Gate(metric="accuracy", on="slices", min=0.9), make_report(0.97))
    assert verdict["passed"]
    assert "every slice" in verdict["gate"]


def test_a_slice_without_a_row_does_not_pass() -> None:
    report = make_report(0.97, slices=[part("dark", None, rows=0)])
    (verdict,) = judge(Gate(metric="accuracy", on="dark", min=0.5), report)
    assert not verdict["passed"]
    assert "no row" in verdict["detail"]


@pytest.mark.parametrize("where", ["dark", "blur"])
def test_a_champion_is_beaten_where_it_was_measured_too(where: str) -> None:
    there = {"metrics": everywhere(0.8), "rows": 40, "against_champion": everywhere([-0.06, 0.02])}
    theirs = {"metrics": everywhere(0.82), "rows": 40}
    slices = [part("dark", 0.8) | there]
    report = make_report(0.97, champion=0.97, slices=slices, robustness={"blur": there})
    report["champion_measured"] |= {"slices": [part("dark", 0.82) | theirs], "robustness": {"blur": theirs}}
    assert not passes(Gate(metric="accuracy", on=where, beats="champion", tolerance=0.05), report)
    assert passes(Gate(metric="accuracy", on=where, beats="champion", tolerance=0.07), report)


def test_latency_is_compared_with_the_champions() -> None:
    report = make_report(0.9, champion=0.9)
    report["champion_measured"]["footprint"]["latency_ms"] = 0.8
    assert not passes(Gate(metric="latency_ms", beats="champion", tolerance=0.1), report)
    assert passes(Gate(metric="latency_ms", beats="champion", tolerance=0.3), report)


def _forms(**accuracy: float) -> tuple[Project, dict[str, Any]]:
    """A project with two smaller forms, and a report in which they lose as much as told."""
    spec = project(
        {
            "gates": [{"metric": "accuracy", "min": 0.9}, {"metric": "latency_ms", "max": 5}],
            "packaging": {"forms": [{"kind": "float16", "tolerance": 0.01}, {"kind": "int8", "tolerance": 0.01}]},
        }
    )
    report = make_report(0.96)
    for number, (name, value) in enumerate(accuracy.items()):
        against = {"baseline": None, "champion": None, "plain": everywhere([value - 0.96, value - 0.96])}
        form = measured(value, against=against, footprint={**FOOTPRINT, "size_mib": 1.0 - number / 2})
        report["forms"][name] = form
    return spec, report


def test_the_smallest_form_that_passes_is_chosen() -> None:
    decision = decide(*_forms(float16=0.96, int8=0.955))
    assert (decision["passed"], decision["chosen"]) == (True, "int8")
    assert decision["gates"] == decision["forms"]["int8"]["gates"]


def test_a_form_that_loses_more_than_its_tolerance_is_not() -> None:
    decision = decide(*_forms(float16=0.96, int8=0.94))
    assert decision["chosen"] == "float16"
    (why,) = decision["forms"]["int8"]["why"]
    assert why.startswith("accuracy at most 0.01 worse than the trained model's: 0.9400 against 0.9600")


def test_a_form_has_to_pass_the_gates_itself() -> None:
    spec, report = _forms(float16=0.96, int8=0.96)
    report["forms"]["int8"]["footprint"]["latency_ms"] = 6.0
    assert decide(spec, report)["chosen"] == "float16"


def test_a_candidate_of_which_no_form_passes_is_refused_for_what_the_trained_model_lacks() -> None:
    spec, report = _forms(float16=0.5, int8=0.5)
    report["forms"]["plain"]["metrics"]["accuracy"] = 0.8
    decision = decide(spec, report)
    assert (decision["passed"], decision["chosen"]) == (False, None)
    assert decision["why"] == ["accuracy at least 0.9: 0.8000"]


@stage("train", "description", reproducible=False)
def _train(ctx: Context) -> Outcome:
    return Outcome()


@stage("evaluate", "description", reproducible=False)
def _evaluate(ctx: Context) -> Outcome:
    return Outcome(metrics=json.loads(ctx.spec.description))


def _gate(platform: Platform, report: Mapping[str, Any]) -> Manifest:
    spec = project({"gates": [{"metric": "accuracy", "min": 0.9}, {"metric": "accuracy", "beats": "baseline"}]})
    given_report = spec.model_copy(update={"description": json.dumps(report)})
    train = execute(_train, spec, {}, store=platform.store, registry=platform.registry)
    evaluated = execute(_evaluate, given_report, {"train": [train]}, store=platform.store, registry=platform.registry)
    return platform.run("tasks.evaluation.gates:gate", spec, evaluate=[evaluated])


def test_a_refusal_is_an_answer_with_its_reasons(home: Path) -> None:
    platform = open_platform()
    manifest = _gate(platform, make_report(0.8, baseline=0.7))
    assert manifest.metrics["passed"] is False
    assert [(g["gate"], g["passed"]) for g in manifest.metrics["gates"]] == [
        ("accuracy at least 0.9", False),
        ("accuracy better than the baseline's", True),
    ]
    assert manifest.metrics["why"] == ["accuracy at least 0.9: 0.8000"]
    decision = json.loads(platform.store.read_bytes(f"{manifest.folder}/decision.json"))
    assert decision == manifest.metrics


def test_each_decision_is_one_audit_row(home: Path) -> None:
    platform = open_platform()
    passed = _gate(platform, make_report(0.95))
    platform.store.delete(passed.folder)  # as after a kill between the audit row and the manifest
    assert _gate(platform, make_report(0.95)).cache == "MISS"
    _gate(platform, make_report(0.1))
    rows = platform.registry.audit_log("digits")
    assert [(row["action"], row["details"]["passed"]) for row in rows] == [("gate", True), ("gate", False)]
    assert rows[0]["details"]["key"] == passed.key
    assert rows[0]["details"]["candidate"].startswith("digits/train/")


def test_a_refusal_is_told_once_and_a_yes_is_not(home: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDRAFT_NOTIFY", inbox.address)
    settings.cache_clear()
    platform = open_platform()
    _gate(platform, make_report(0.95))
    refused = _gate(platform, make_report(0.8))
    platform.store.delete(refused.folder)
    _gate(platform, make_report(0.8))
    (message,) = inbox.messages
    assert message["title"] == "digits: not promoted"
    assert "accuracy at least 0.9: 0.8000" in message["message"]
