"""What was predicted beside what is true, as a picture: a confusion matrix, or of a regression points."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

POINTS = 5_000
"""Drawn at most, evenly chosen of all."""


def draw_numbers(labels: np.ndarray, predicted: np.ndarray, path: Path) -> None:
    """Writes a PNG with a point for each row, float (N,) each: true number across, predicted one up."""
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(POINTS, len(labels))).astype(int))
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(labels[chosen], predicted[chosen], ".", alpha=0.4)
    low, high = min(labels.min(), predicted.min()), max(labels.max(), predicted.max())
    axes.plot([low, high], [low, high], color="black", linewidth=1, label="as good as it gets")
    axes.set(xlabel="true", ylabel="predicted")
    axes.legend()
    figure.savefig(path, dpi=100)


def draw_confusion(counts: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Writes a PNG of ``counts``, int (classes, classes): true class down, predicted class across.

    Colours show each row's shares, so that rare classes are as visible as common ones.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.45 * len(classes) + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    axes.set(xticks=ticks, yticks=ticks, xlabel="predicted", ylabel="true")
    axes.set_xticklabels(classes, rotation=90 if max(map(len, classes)) > 2 else 0)
    axes.set_yticklabels(classes)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path, dpi=100)
