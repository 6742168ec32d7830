"""The model card as a page: the template ``card.html.jinja`` filled with the card's facts."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.core.artifacts import digest_file
from tasks.core.stages import Context
from tasks.evaluation.card_charts import Span, draw, limits
from tasks.evaluation.card_pictures import Picture
from tasks.evaluation.metrics import HIGHER_IS_BETTER

_TEMPLATE = Path(__file__).with_name("card.html.jinja")

_NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1, mean over classes",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "latency_ms": "latency, 1 row",
    "batch_latency_ms": "latency, 32 rows",
    "size_mib": "size",
    "memory_mib": "memory",
}
_NONE = "\N{EN DASH}"
"""What is not defined."""

_UNITS = {"latency_ms": "ms", "batch_latency_ms": "ms", "size_mib": "MiB", "memory_mib": "MiB"}


def page(facts: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """The page: one file that loads nothing.

    Args:
        facts: see `tasks.evaluation.card.describe`.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": number, "between": between, "named": named, "yaml": _yaml}
    evaluation = facts["evaluation"]
    plain = evaluation["forms"]["plain"]
    score = "r2" if "r2" in plain["metrics"] else "accuracy"
    # Of a group of like numbers, the share of their spread that is explained says little.
    part_score, part_second = ("rmse", "r2") if score == "r2" else ("accuracy", "log_loss")
    overall, tests = plain["metrics"][part_score], plain["robustness"]
    received = tests["undisturbed"]["metrics"][part_score] if "undisturbed" in tests else overall
    return environment.get_template(_TEMPLATE.name).render(
        **facts,
        plain=plain,
        units=_UNITS,
        up=HIGHER_IS_BETTER,
        measures=_measures(evaluation),
        members=_members(facts["params"]),
        score=score,
        part_score=part_score,
        part_second=part_second,
        slice_chart=_charts({each["name"]: each for each in plain["slices"]}, part_score, overall),
        test_chart=_charts(tests, part_score, received),
        parts_of=lambda kind: [row for row in facts["lineage"] if (kind == "date") == _is_of_a_date(row)],
        pictures=lambda group: [picture for picture in pictures if picture.group == group],
    )


def state(_: Context) -> Mapping[str, Any]:
    """What the page depends on beside code and inputs."""
    return {"template": digest_file(_TEMPLATE)}


def number(value: Any) -> str:
    """A measure for people; a dash for one that is not defined."""
    if value is None:
        return _NONE
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def between(interval: Sequence[float] | None, signed: bool = False) -> str:
    """An interval for people."""
    if interval is None:
        return _NONE
    low, high = (f"+{number(end)}" if signed and end > 0 else number(float(end)) for end in interval)
    return f"{low} to {high}"


def named(metric: str) -> str:
    """A measure's name as a person says it."""
    return _NAMES.get(metric, metric.replace("_", " "))


def _measures(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each measure: candidate, champion and baseline, and the three on one scale."""
    plain, champion = evaluation["forms"]["plain"], evaluation["champion"] or {}
    theirs = (evaluation["champion_measured"] or {}).get("intervals", {})
    rows = []
    for metric, value in plain["metrics"].items():
        spans = [Span("candidate", value, plain["intervals"].get(metric))]
        if champion:
            spans.append(Span("champion", champion.get(metric), theirs.get(metric)))
        spans.append(Span("baseline", evaluation["baseline"].get(metric)))
        rows.append({"metric": metric, "value": value, "spans": spans, "chart": draw(spans, limits(spans))})
    return rows


def _charts(parts: Mapping[str, Any], score: str, mark: float) -> Callable[[str], Markup]:
    """Draws a part's score on a scale that all parts share, beside that of all rows."""
    spans = {
        name: Span("candidate", part["metrics"].get(score), part["intervals"].get(score))
        for name, part in parts.items()
    }
    scale = limits([*spans.values(), Span("candidate", mark)])
    return lambda name: draw([spans[name]], scale, mark=mark)


def _members(params: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The parameters of the model, or of each of an ensemble's, by trial."""
    if "params" in params:
        return [(f"trial {params['trial']}", params["params"])]
    return list(params.items())


def _is_of_a_date(link: Mapping[str, Any]) -> bool:
    return link["stage"] in ("ingest", "validate", "features", "materialize")


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).strip()
