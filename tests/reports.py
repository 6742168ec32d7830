"""Reports as the evaluation stage writes them, with the numbers that a test wants."""

from typing import Any

METRICS = ("accuracy", "balanced_accuracy", "log_loss")
FOOTPRINT = {"latency_ms": 1.0, "batch_latency_ms": 10.0, "size_mib": 2.0, "memory_mib": 100.0}


def everywhere(value: Any) -> dict[str, Any]:
    """The same for every measure."""
    return dict.fromkeys(METRICS, value)


def measured(value: float | None, **more: Any) -> dict[str, Any]:
    """A form that has the same value everywhere."""
    empty = {"slices": [], "robustness": {}, "footprint": dict(FOOTPRINT), "against": {}}
    return {"metrics": everywhere(value), "intervals": everywhere(None), **empty, **more}


def make_report(
    candidate: float | None,
    baseline: float = 0.5,
    champion: float | None = None,
    spread: float = 0.0,
    **more: Any,
) -> dict[str, Any]:
    """An evaluation's report; differences are known to ``spread`` up and down.

    Args:
        more: of the plain form.
    """

    def around(other: float | None) -> dict[str, Any] | None:
        if other is None or candidate is None:
            return None
        return everywhere([candidate - other - spread, candidate - other + spread])

    against = {"baseline": around(baseline), "champion": around(champion), "plain": everywhere([0.0, 0.0])}
    plain = measured(candidate, against=against) | more
    return {
        "rows": 100,
        "candidate": plain["metrics"],
        "baseline": everywhere(baseline),
        "champion": None if champion is None else everywhere(champion) | {"version": 3},
        "champion_measured": None if champion is None else measured(champion),
        "forms": {"plain": plain},
        "against": against,
        "confidence": 0.95,
    }


def part(name: str, value: float | None, **more: Any) -> dict[str, Any]:
    """A slice that was declared."""
    given_ones = {"name": name, "rows": 40, "found": False, "p_value": None, "against_champion": None}
    return {**given_ones, "metrics": everywhere(value), "intervals": {}, **more}
