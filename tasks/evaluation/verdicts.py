"""One gate's verdict on one form of a candidate: what was measured, what was asked, and whether it holds.

Where the candidate has to beat somebody, chance does not count for it: what is compared with the tolerance is the worse
end of the interval of the difference, over the same rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, get_args

from tasks.core.spec import Footprint, Gate
from tasks.evaluation.metrics import HIGHER_IS_BETTER

SLICES = "slices"
"""A gate on every slice."""

Values = Mapping[str, float | None]
Interval = tuple[float, float] | list[float]


class Judged(TypedDict):
    """A gate's answer.

    ``gate`` is the condition in words, ``detail`` what was found, in words. ``value`` and ``threshold`` are the numbers
    that were compared: of a gate that names an opponent, the worse end of the difference and the tolerance. None: there
    is no such number.
    """

    gate: str
    metric: str
    on: str | None
    value: float | None
    threshold: float | None
    passed: bool
    detail: str


@dataclass(frozen=True)
class _Place:
    """Where a gate looks: the whole split, a slice or a robustness test.

    Attributes:
        name: None: the whole split.
        values: the form's measures.
        others: the opponents' measures, by opponent.
        differences: intervals of form minus opponent, by opponent and measure.
    """

    name: str | None
    values: Values
    rows: int | None = None
    others: Mapping[str, Values] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Interval | None]] = field(default_factory=dict)

    def words(self) -> str:
        """The place as a gate's words name it."""
        return f" on {self.name}" if self.name else ""


def judge(condition: Gate, report: Mapping[str, Any], form: str = "plain") -> list[Judged]:
    """The gate's verdicts on a form, from an evaluation's report: one; of a gate on every slice, one for each.

    A value that is no number does not pass. Where there is no champion, there is none to beat.
    """
    places = _places(condition.on, report, form)
    if not places:
        text = f"{condition.metric} on every slice (none is declared, none is worse than chance explains)"
        return [_judged(condition.metric, SLICES, text, None, None, passed=True, detail="nothing to judge")]
    absolute = condition.beats is None
    return [_limit(condition, place) if absolute else _beats(condition, place, report) for place in places]


def no_worse(metric: str, report: Mapping[str, Any], form: str, tolerance: float) -> Judged:
    """Whether a form is at most ``tolerance`` worse than the trained model that it was made from."""
    place = _whole(report, form)
    text = _at_most(tolerance, metric, "", "the trained model's")
    return _compared(metric, place, "plain", text, tolerance, strict=False, confidence=report["confidence"])


def sentence(judged: Judged) -> str:
    """A verdict for people: the condition, and what was found."""
    return f"{judged['gate']}: {judged['detail']}"


def _limit(condition: Gate, place: _Place) -> Judged:
    metric, value = condition.metric, place.values.get(condition.metric)
    up = condition.min is not None
    threshold = condition.min if condition.min is not None else condition.max
    assert threshold is not None  # the spec's own check
    text = f"{metric}{place.words()} at {'least' if up else 'most'} {threshold:g}"
    if value is None or not math.isfinite(value):
        return _judged(metric, place.name, text, None, threshold, passed=False, detail=_undefined(place))
    holds = value >= threshold if up else value <= threshold
    detail = f"{value:.4f}" + (f" over {place.rows} rows" if place.rows is not None else "")
    return _judged(metric, place.name, text, value, threshold, passed=holds, detail=detail)


def _beats(condition: Gate, place: _Place, report: Mapping[str, Any]) -> Judged:
    metric, opponent, tolerance = condition.metric, condition.beats, condition.tolerance
    if opponent == "baseline":
        text = f"{metric} better than the baseline's" + (f", or at most {tolerance:g} worse" if tolerance else "")
        return _compared(metric, place, opponent, text, tolerance, not tolerance, report["confidence"])
    if report["champion"] is None:
        text = f"{metric}{place.words()} no worse than the champion's (there is no champion)"
        return _judged(metric, place.name, text, place.values.get(metric), None, passed=True, detail="nobody to beat")
    text = _at_most(tolerance, metric, place.words(), f"the champion's, version {report['champion']['version']}")
    return _compared(metric, place, "champion", text, tolerance, strict=False, confidence=report["confidence"])


def _compared(
    metric: str, place: _Place, opponent: str, text: str, tolerance: float, strict: bool, confidence: float
) -> Judged:
    """The verdict on a difference: its worse end against the tolerance."""
    value, other = place.values.get(metric), place.others.get(opponent, {}).get(metric)
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    threshold = round(-sign * tolerance, 9) + 0.0  # no minus before a zero
    if value is None or not math.isfinite(value):
        return _judged(metric, place.name, text, None, threshold, passed=False, detail=_undefined(place))
    if other is None or not math.isfinite(other):
        return _judged(metric, place.name, text, None, threshold, passed=True, detail="the other has no such value")
    given = place.differences.get(opponent, {}).get(metric)
    if given is None and is_quality(metric):
        detail = f"{value:.4f} against {other:.4f}: too few rows to tell the difference from chance"
        return _judged(metric, place.name, text, None, threshold, passed=False, detail=detail)
    low, high = given or (value - other, value - other)
    worst = round(low if sign > 0 else high, 9)
    holds = sign * worst > sign * threshold if strict else sign * worst >= sign * threshold
    detail = f"{value:.4f} against {other:.4f}, a difference of {value - other:+.4f}"
    if given:
        detail += f" ({confidence:.0%} interval {low:+.4f} to {high:+.4f})"
    return _judged(metric, place.name, text, worst, threshold, passed=holds, detail=detail)


def _at_most(tolerance: float, metric: str, where: str, whose: str) -> str:
    return f"{metric}{where} {f'at most {tolerance:g} worse than' if tolerance else 'no worse than'} {whose}"


def _places(on: str | None, report: Mapping[str, Any], form: str) -> Sequence[_Place]:
    if on is None:
        return [_whole(report, form)]
    measured, champion = report["forms"][form], report.get("champion_measured") or {}
    theirs = {each["name"]: each for each in champion.get("slices", ())}
    slices = [
        _part(each["name"], each, theirs.get(each["name"])) for each in measured["slices"] if _counts(each, report)
    ]
    if on == SLICES:
        return slices
    named = [place for place in slices if place.name == on]
    if named:
        return named
    tests = champion.get("robustness", {})
    return [_part(on, measured["robustness"].get(on, {"metrics": {}, "rows": 0}), tests.get(on))]


def _counts(part: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Of the groups that were looked for, those alone that chance does not explain: any split has a worst group."""
    chance = part.get("p_value")
    return not part["found"] or chance is None or chance <= 1 - report["confidence"]


def _whole(report: Mapping[str, Any], form: str) -> _Place:
    measured, plain = report["forms"][form], report["forms"]["plain"]
    champion = report.get("champion_measured") or {}
    against = measured["against"]
    return _Place(
        None,
        {**measured["metrics"], **measured["footprint"]},
        others={
            "baseline": report["baseline"],
            "champion": {**(report["champion"] or {}), **champion.get("footprint", {})},
            "plain": plain["metrics"],
        },
        differences={name: against.get(name) or {} for name in ("baseline", "champion", "plain")},
    )


def _part(name: str, part: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> _Place:
    return _Place(
        name,
        part["metrics"],
        part["rows"],
        others={"champion": (theirs or {}).get("metrics", {})},
        differences={"champion": part.get("against_champion") or {}},
    )


def _undefined(place: _Place) -> str:
    return "no row of the split is in it" if place.rows == 0 else "is no number there"


def _judged(
    metric: str, on: str | None, gate: str, value: float | None, threshold: float | None, *, passed: bool, detail: str
) -> Judged:
    return Judged(gate=gate, metric=metric, on=on, value=value, threshold=threshold, passed=passed, detail=detail)


def is_quality(metric: str) -> bool:
    """Whether a form may be worse at it: what a package weighs and takes is judged by itself."""
    return metric not in get_args(Footprint)
