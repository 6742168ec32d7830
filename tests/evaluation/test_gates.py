"""Gates: the truth table, the words, and the one audit row."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.artifacts import Manifest
from tasks.core.spec import Gate
from tasks.core.stages import Context, Outcome, execute
from tasks.evaluation.gates import judge
from tests.digits import Platform, open_platform, project
from tests.stages import stage

share = st.floats(0, 1)
tolerance = st.floats(0, 0.2)


def _report(candidate: float, baseline: float = 0.5, champion: float | None = None) -> dict[str, Any]:
    def all_metrics(value: float) -> dict[str, float]:
        return dict.fromkeys(("accuracy", "balanced_accuracy", "log_loss"), value)

    return {
        "candidate": all_metrics(candidate),
        "baseline": all_metrics(baseline),
        "champion": None if champion is None else all_metrics(champion) | {"version": 3},
    }


@given(share, share)
def test_absolute_thresholds_include_the_threshold(value: float, threshold: float) -> None:
    assert judge(Gate(metric="accuracy", min=threshold), _report(value))["passed"] == (value >= threshold)
    assert judge(Gate(metric="log_loss", max=threshold), _report(value))["passed"] == (value <= threshold)


@given(share, share)
def test_a_baseline_has_to_be_beaten_not_met(value: float, baseline: float) -> None:
    report = _report(value, baseline)
    assert judge(Gate(metric="accuracy", beats="baseline"), report)["passed"] == (value > baseline)
    assert judge(Gate(metric="log_loss", beats="baseline"), report)["passed"] == (value < baseline)


@given(share, share)
def test_a_champion_has_to_be_met(value: float, champion: float) -> None:
    value, champion = round(value, 6), round(champion, 6)
    report = _report(value, champion=champion)
    assert judge(Gate(metric="accuracy", beats="champion"), report)["passed"] == (value >= champion)
    assert judge(Gate(metric="log_loss", beats="champion"), report)["passed"] == (value <= champion)


@given(share, share, tolerance)
def test_tolerance_only_ever_helps_and_by_no_more_than_it_says(value: float, champion: float, extra: float) -> None:
    for metric, sign in (("accuracy", 1), ("log_loss", -1)):
        strict = judge(Gate(metric=metric, beats="champion"), _report(value, champion=champion))
        lenient = judge(Gate(metric=metric, beats="champion", tolerance=extra), _report(value, champion=champion))
        assert lenient["passed"] >= strict["passed"]
        if lenient["passed"]:
            assert sign * (champion - value) <= extra + 1e-8


@given(share)
def test_with_no_champion_there_is_none_to_beat(value: float) -> None:
    answer = judge(Gate(metric="accuracy", beats="champion"), _report(value))
    assert answer["passed"]
    assert answer["threshold"] is None
    assert "no champion" in answer["gate"]


@pytest.mark.parametrize(
    "gate",
    [{"min": 0.0}, {"max": 1.0}, {"beats": "baseline"}, {"beats": "champion"}],
    ids=lambda gate: next(iter(gate)),
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_passes(gate: dict[str, Any], value: float) -> None:
    assert not judge(Gate(metric="log_loss", **gate), _report(value, champion=0.5))["passed"]


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (Gate(metric="accuracy", min=0.97), "accuracy at least 0.97"),
        (Gate(metric="log_loss", max=0.2), "log_loss at most 0.2"),
        (Gate(metric="accuracy", beats="baseline"), "accuracy above 0.5000 (baseline)"),
        (Gate(metric="log_loss", beats="baseline"), "log_loss below 0.5000 (baseline)"),
        (
            Gate(metric="accuracy", beats="champion", tolerance=0.01),
            "accuracy at least 0.7900 (champion, version 3: 0.8000, tolerance 0.01)",
        ),
        (Gate(metric="log_loss", beats="champion"), "log_loss at most 0.8000 (champion, version 3: 0.8000)"),
    ],
)
def test_a_gate_in_words_names_its_number(gate: Gate, words: str) -> None:
    assert judge(gate, _report(0.9, champion=0.8))["gate"] == words


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
    manifest = _gate(platform, _report(0.8, baseline=0.7))
    assert manifest.metrics["passed"] is False
    assert [(g["gate"], g["passed"]) for g in manifest.metrics["gates"]] == [
        ("accuracy at least 0.9", False),
        ("accuracy above 0.7000 (baseline)", True),
    ]
    decision = json.loads(platform.store.read_bytes(f"{manifest.folder}/decision.json"))
    assert decision == manifest.metrics


def test_each_decision_is_one_audit_row(home: Path) -> None:
    platform = open_platform()
    passed = _gate(platform, _report(0.95))
    platform.store.delete(passed.folder)  # as after a kill between the audit row and the manifest
    assert _gate(platform, _report(0.95)).cache == "MISS"
    _gate(platform, _report(0.1))
    rows = platform.registry.audit_log("digits")
    assert [(row["action"], row["details"]["passed"]) for row in rows] == [("gate", True), ("gate", False)]
    assert rows[0]["details"]["key"] == passed.key
    assert rows[0]["details"]["candidate"].startswith("digits/train/")
