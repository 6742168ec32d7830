"""The drift stage: do the rows that the endpoint gets still look like those that its champion was trained on?

Raw features of the logged requests are held against the baseline inside the champion's package, by the population
stability index. Own NumPy: general drift libraries took a hundred times as long for the same number.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import chi2

from tasks.core.stages import Context, Outcome
from tasks.monitoring.window import requests_of
from tasks.runtime.baseline import BASELINE, Baseline, stability

_FALSE_ALARM = 0.01
"""Chance of calling any dimension drifted when none has, per window."""


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
    requests = requests_of(ctx, champion)
    found: dict[str, Any] = {"requests": len(requests), "judged": True, "why": "", "version": champion.version}
    needed = ctx.spec.monitoring.min_requests
    if len(requests) < needed:
        why = f"{len(requests)} requests in the window, {needed} are needed"
        return _report(ctx, {**found, "judged": False, "why": why}, {})
    folder = ctx.store.fetch(champion.package.rpartition("/")[0])
    baseline = Baseline.model_validate_json((folder / BASELINE).read_bytes())
    if not baseline.features:
        return _report(ctx, {**found, "judged": False, "why": "the champion has no feature that is watched"}, {})
    features = {group: np.array([r["features"][group] for r in requests]) for group in baseline.features}
    return _report(ctx, found, judge(baseline, features, ctx.spec.monitoring.psi))


def judge(baseline: Baseline, features: Mapping[str, np.ndarray], threshold: float) -> dict[str, dict[str, Any]]:
    """Every dimension's index, the limit it was held to, and whether it has drifted.

    Args:
        features: feature group to (N, F), N at least 1.
        threshold: index above which a drift matters, however sure.
    """
    indexes = stability(baseline, features)
    rows = len(next(iter(features.values())))
    bins = {f"{group}.{d.name}": len(d.counts) for group, dimensions in baseline.features.items() for d in dimensions}
    chance = {n: (1 / rows + 1 / baseline.rows) * chi2.isf(_FALSE_ALARM / len(bins), n - 1) for n in {*bins.values()}}
    limits = {name: max(threshold, float(chance[bins[name]])) for name in indexes}
    return {name: {"psi": v, "limit": limits[name], "drifted": v > limits[name]} for name, v in indexes.items()}


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
