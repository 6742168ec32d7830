"""The drift stage: do the images that the endpoint gets still look like those that its champion was trained on?

Raw features of the logged requests are held against the baseline inside the champion's package, by the population
stability index. Own NumPy: general drift libraries took a hundred times as long for the same number.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import chi2

from tasks.core.artifacts import digest_json
from tasks.core.errors import BadInput
from tasks.core.registry import Version
from tasks.core.stages import Context, Outcome, stage
from tasks.runtime.baseline import BASELINE, Baseline, stability
from tasks.runtime.requests import Record, read_requests

_FALSE_ALARM = 0.01
"""Chance of calling any dimension drifted when none has, per window."""


def window(partition: str) -> tuple[datetime, datetime]:
    """The hour (``2026-01-01T05``) or day (``2026-01-01``) that a partition names, UTC: start, and end exclusive.

    Raises:
        BadInput: it names neither.
    """
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d)?", partition):
            raise ValueError
        start = datetime.fromisoformat(partition).replace(tzinfo=UTC)
    except ValueError:
        raise BadInput(f"{partition!r} is no window.", "Give a day (2026-01-01) or an hour (2026-01-01T05).") from None
    return start, start + (timedelta(hours=1) if "T" in partition else timedelta(days=1))


def _outside(ctx: Context) -> Mapping[str, Any]:
    champion = ctx.registry.alias(ctx.spec.name)
    requests = _requests(ctx, champion) if champion else []
    asked = [(r["time"], r["request_id"], r["index"]) for r in requests]
    return {"champion": champion and champion.version, "requests": digest_json(asked)}


@stage("drift", "monitoring", reproducible=False, outside=_outside)
def drift(ctx: Context) -> Outcome:
    """Compares the champion's requests in the window with its baseline, one index per feature dimension.

    A dimension has drifted when its index is above the spec's threshold and above what chance alone would give for
    so few rows: the index of undrifted samples is (1/n + 1/m) chi-squared with bins - 1 degrees of freedom (Yurdakul,
    "Statistical properties of the population stability index", 2018), shared out among all dimensions (Bonferroni).

    Raises:
        BadInput: the partition names no window.
    """
    champion = ctx.registry.alias(ctx.spec.name)
    if champion is None:
        return _report(ctx, {"requests": 0, "judged": False, "why": "no champion yet", "version": None}, {})
    requests = _requests(ctx, champion)
    found: dict[str, Any] = {"requests": len(requests), "judged": True, "why": "", "version": champion.version}
    needed = ctx.spec.monitoring.min_requests
    if len(requests) < needed:
        why = f"{len(requests)} requests in the window, {needed} are needed"
        return _report(ctx, {**found, "judged": False, "why": why}, {})
    folder = ctx.store.fetch(champion.package.rpartition("/")[0])
    baseline = Baseline.model_validate_json((folder / BASELINE).read_bytes())
    features = {kind: np.array([r["features"][kind] for r in requests]) for kind in baseline.features}
    return _report(ctx, found, judge(baseline, features, ctx.spec.monitoring.psi))


def judge(baseline: Baseline, features: Mapping[str, np.ndarray], threshold: float) -> dict[str, dict[str, Any]]:
    """Every dimension's index, the limit it was held to, and whether it has drifted.

    Args:
        features: extractor's name to (N, F), N at least 1.
        threshold: index above which a drift matters, however sure.
    """
    indexes = stability(baseline, features)
    rows = len(next(iter(features.values())))
    bins = {f"{kind}.{d.name}": len(d.counts) for kind, dimensions in baseline.features.items() for d in dimensions}
    chance = {n: (1 / rows + 1 / baseline.rows) * chi2.isf(_FALSE_ALARM / len(bins), n - 1) for n in {*bins.values()}}
    limits = {name: max(threshold, float(chance[bins[name]])) for name in indexes}
    return {name: {"psi": v, "limit": limits[name], "drifted": v > limits[name]} for name, v in indexes.items()}


def _requests(ctx: Context, champion: Version) -> list[Record]:
    start, end = window(ctx.partition or "")
    found = read_requests(ctx.spec.name, start, end)
    return [r for r in found if r["kind"] == "prediction" and r["version"] == champion.version]


def _report(ctx: Context, found: Mapping[str, Any], dimensions: Mapping[str, Mapping[str, Any]]) -> Outcome:
    worst = sorted(dimensions, key=lambda name: -dimensions[name]["psi"])
    metrics = {
        **found,
        "drifted": [name for name in worst if dimensions[name]["drifted"]],
        "max_psi": dimensions[worst[0]]["psi"] if worst else None,
    }
    report = {"window": ctx.partition, **metrics, "dimensions": {name: dimensions[name] for name in worst}}
    (ctx.out / "drift.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    if worst:
        _plot(ctx.out / "drift.png", {name: dimensions[name] for name in worst[:20]})
    return Outcome(metrics=metrics)


def _plot(path: Path, dimensions: Mapping[str, Mapping[str, Any]]) -> None:
    """The dimensions as bars, the furthest on top, red where drifted."""
    figure = Figure(figsize=(8, 0.3 * len(dimensions) + 1), layout="constrained")
    axes = figure.subplots()
    names, rows = list(dimensions)[::-1], list(dimensions.values())[::-1]
    axes.barh(names, [r["psi"] for r in rows], color=["tab:red" if r["drifted"] else "tab:blue" for r in rows])
    axes.plot([r["limit"] for r in rows], names, "k|", label="limit")
    axes.set_xlabel("population stability index")
    axes.legend()
    figure.savefig(path)
