"""Gates: the conditions under which a candidate may become champion, and the decision, kept with its reasons."""

import json
import math
from collections.abc import Mapping
from typing import Any

from tasks.core.notify import notify
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome
from tasks.evaluation.verdicts import is_quality, judge, no_worse, sentence

PLAIN = "plain"


def gate(ctx: Context) -> Outcome:
    """Judges the evaluation by the spec's gates; writes ``decision.json`` and a row of the audit log.

    A refusal is an answer, not an error: ``metrics["passed"]`` is False, later steps do not run, and those who asked
    for it are told.
    """
    decision = decide(ctx.spec, ctx.input("evaluate").metrics)
    (ctx.out / "decision.json").write_text(json.dumps(decision, indent=2, ensure_ascii=False), encoding="utf-8")
    if _record(ctx, decision) and not decision["passed"]:
        notify(f"{ctx.spec.name}: not promoted", "\n".join((*decision["why"], "The champion stays.", ctx.run_id)))
    return Outcome(metrics=decision)


def decide(spec: Project, report: Mapping[str, Any]) -> dict[str, Any]:
    """The decision on a candidate and on each of its smaller forms.

    Every form has to pass every gate with its own values, and must not be worse than the trained model by more than
    its tolerance. The smallest that does is chosen.

    Returns:
        ``passed``; ``chosen``, a form or None; ``gates``, the verdicts on it (or on the trained model); ``why``, a
        sentence for each that failed, if none was chosen; ``forms``, each with ``passed``, ``gates`` and ``why``.
    """
    tolerances = {form.kind: form.tolerance for form in spec.packaging.forms}
    forms = {name: _judge_form(spec, report, name, tolerances.get(name, 0.0)) for name in report["forms"]}
    sizes = {name: _size(report, name) for name, each in forms.items() if each["passed"]}
    chosen = min(sizes, key=lambda name: sizes[name]) if sizes else None
    told = forms[chosen or PLAIN]
    return {"passed": bool(chosen), "chosen": chosen, "gates": told["gates"], "why": told["why"], "forms": forms}


def _judge_form(spec: Project, report: Mapping[str, Any], name: str, tolerance: float) -> dict[str, Any]:
    gates = [verdict for condition in spec.gates for verdict in judge(condition, report, name)]
    if name != PLAIN:
        named = dict.fromkeys(condition.metric for condition in spec.gates if is_quality(condition.metric))
        gates += [no_worse(metric, report, name, tolerance) for metric in named]
    why = [sentence(verdict) for verdict in gates if not verdict["passed"]]
    return {"passed": not why, "gates": gates, "why": why}


def _size(report: Mapping[str, Any], name: str) -> float:
    return float(report["forms"][name]["footprint"].get("size_mib", math.inf))


def _record(ctx: Context, decision: Mapping[str, Any]) -> bool:
    """One audit row per decision, also when an attempt was killed after writing it; whether this call wrote it."""
    rows = ctx.registry.audit_log(ctx.spec.name)
    if any(row["action"] == "gate" and row["details"].get("key") == ctx.key for row in rows):
        return False
    evaluated = ctx.input("evaluate")
    told = {name: decision[name] for name in ("passed", "chosen", "why", "gates")}
    details = {"key": ctx.key, "candidate": evaluated.inputs["train"][0], **told}
    ctx.registry.audit(ctx.spec.name, "gate", "updraft", details, ctx.run_id)
    return True
