"""Pictures that set models and groups of rows side by side: reliability, slices and robustness tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_CANDIDATE, _CHAMPION, _TEMPERED = "tab:blue", "tab:gray", "tab:orange"
_LONGEST = 48


def draw_reliability(found: Mapping[str, Any], path: Path) -> None:
    """Writes a PNG: how often the model is right by how sure it is, and below, how many rows that is.

    Args:
        found: as `tasks.evaluation.calibration.calibration` gives it.
    """
    figure = Figure(figsize=(5, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="as sure as right")
    served = found["as_served"]
    for way, colour, marker, temperature in (
        ("untempered", _CANDIDATE, "o", "1"),
        ("tempered", _TEMPERED, "^", f"{found['temperature']:.2f}"),
    ):
        name = f"temperature {temperature}{', as served' if way == served else ''}"
        label = f"{name}: error {found[way]['calibration_error']:.3f}"
        _line(upper, found[way]["bins"], colour, marker, label)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    figure.legend(loc="outside upper left", frameon=False)
    bins = found[served]["bins"]
    widths = [each["high"] - each["low"] for each in bins]
    lower.bar([each["low"] for each in bins], [each["rows"] for each in bins], widths, align="edge", edgecolor="white")
    lower.set(xlabel="probability of the likeliest class", ylabel="rows")
    figure.savefig(path, dpi=100)


def draw_places(
    measured: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    places: Mapping[str, Mapping[str, Any]],
    metric: str,
    path: Path,
) -> None:
    """Writes a PNG with a line for each slice or test: the candidate's measure there and its interval, and the
    champion's; across all of them, the candidate's measure on the whole split.

    Args:
        measured: the candidate's entry in the report.
        champion: name of a place to the champion's entry there, if there is a champion.
        places: name of a place to the candidate's entry there: ``metrics``, ``intervals``, ``rows``.
    """
    names = [name for name, place in places.items() if place["metrics"][metric] is not None]
    figure = Figure(figsize=(7.5, 1.6 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(measured["metrics"][metric], color="black", linewidth=1, linestyle="--", label="whole split")
    entries = [places[name] for name in names]
    _dots(axes, entries, metric, 0.0, _CANDIDATE, "o", "candidate")
    if champion is not None:
        theirs = [champion.get(name) for name in names]
        _dots(axes, theirs, metric, 0.22, _CHAMPION, "s", "champion")
    shown = [f"{_cut(name)} ({place['rows']:,})" for name, place in zip(names, entries, strict=True)]
    axes.set(yticks=range(len(names)), yticklabels=shown, xlabel=metric, ylim=(len(names) - 0.4, -0.6))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    figure.savefig(path, dpi=100)


def _line(axes: Axes, bins: Sequence[Mapping[str, float]], colour: str, marker: str, label: str) -> None:
    across, up = ([each[name] for each in bins] for name in ("confidence", "accuracy"))
    axes.plot(across, up, color=colour, alpha=0.5, linewidth=1)
    sizes = 4 + 80 * np.sqrt(np.array([each["rows"] for each in bins]) / max(each["rows"] for each in bins))
    axes.scatter(across, up, sizes, color=colour, marker=marker, label=label, zorder=3)


def _dots(
    axes: Axes,
    entries: Sequence[Mapping[str, Any] | None],
    metric: str,
    shift: float,
    colour: str,
    marker: str,
    label: str,
) -> None:
    """A point per entry that has the measure, with its interval."""
    known = [
        (row + shift, entry["metrics"][metric], entry["intervals"][metric])
        for row, entry in enumerate(entries)
        if entry and entry["metrics"][metric] is not None
    ]
    if not known:
        return
    rows, values, found = zip(*known, strict=True)
    axes.plot(values, rows, marker, color=colour, label=label, zorder=3)
    for row, value, interval in zip(rows, values, found, strict=True):
        axes.plot(interval or (value, value), (row, row), color=colour, linewidth=1.5)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
