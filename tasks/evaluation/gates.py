"""Gates: the conditions under which a candidate may become champion, and the decision, kept with its reasons."""

import json
import math
from collections.abc import Mapping
from typing import Any

from tasks.core.spec import Gate
from tasks.core.stages import Context, Outcome
from tasks.evaluation.metrics import HIGHER_IS_BETTER


def gate(ctx: Context) -> Outcome:
    """Judges the evaluation by the spec's gates; writes ``decision.json`` and a row of the audit log.

    A refusal is an answer, not an error: ``metrics["passed"]`` is False and later steps do not run.
    """
    report = ctx.input("evaluate").metrics
    gates = [judge(each, report) for each in ctx.spec.gates]
    decision = {"passed": all(each["passed"] for each in gates), "gates": gates}
    _record(ctx, decision)
    (ctx.out / "decision.json").write_text(json.dumps(decision, indent=2, ensure_ascii=False), encoding="utf-8")
    return Outcome(metrics=decision)


def judge(condition: Gate, report: Mapping[str, Any]) -> dict[str, Any]:
    """One gate's answer for an evaluation's report.

    Returns:
        ``gate`` (the condition in words, with its threshold), ``metric``, ``value`` (the candidate's), ``threshold``
        (None: there is no champion to beat) and ``passed``. A value that is no number does not pass.
    """
    metric = condition.metric
    value = report["candidate"][metric]
    text, threshold, at_least, strict = _threshold(condition, report)
    if threshold is None:
        passed = True
    elif not math.isfinite(value):
        passed = False
    elif value == threshold:
        passed = not strict
    else:
        passed = (value > threshold) == at_least
    return {"gate": text, "metric": metric, "value": value, "threshold": threshold, "passed": passed}


def _threshold(condition: Gate, report: Mapping[str, Any]) -> tuple[str, float | None, bool, bool]:
    """The condition in words, its threshold, whether values are to be above it, and whether equality fails."""
    metric, up = condition.metric, HIGHER_IS_BETTER[condition.metric]
    if condition.min is not None:
        return f"{metric} at least {condition.min:g}", condition.min, True, False
    if condition.max is not None:
        return f"{metric} at most {condition.max:g}", condition.max, False, False
    if condition.beats == "baseline":
        threshold = report["baseline"][metric]
        return f"{metric} {'above' if up else 'below'} {threshold:.4f} (baseline)", threshold, up, True
    champion = report["champion"]
    if champion is None:
        return f"{metric} no worse than the champion's (there is no champion)", None, up, False
    best, tolerance = champion[metric], condition.tolerance
    threshold = round(best - tolerance if up else best + tolerance, 9)
    origin = f"champion, version {champion['version']}: {best:.4f}"
    if tolerance:
        origin += f", tolerance {tolerance:g}"
    return f"{metric} at {'least' if up else 'most'} {threshold:.4f} ({origin})", threshold, up, False


def _record(ctx: Context, decision: Mapping[str, Any]) -> None:
    """One audit row per decision, also when an attempt was killed after writing it."""
    rows = ctx.registry.audit_log(ctx.spec.name)
    if not any(row["action"] == "gate" and row["details"].get("key") == ctx.key for row in rows):
        details = {"key": ctx.key, "candidate": ctx.input("evaluate").inputs["train"][0], **decision}
        ctx.registry.audit(ctx.spec.name, "gate", "updraft", details, ctx.run_id)
