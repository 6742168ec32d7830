"""Pictures of what a model looks at, each a PNG.

Colours are those of the field: red speaks for the prediction and blue against it; Grad-CAM is laid over the image as a
heat map.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from tasks.evaluation.importance import Importance

MOST = 20
"""Bars of one plot."""

FOR, AGAINST = "#b2182b", "#2166ac"
_SIGNED, _HEAT = "RdBu_r", "jet"
_SIDE = 1.9
_LETTERS = 28
_PARTS = 8


def draw_attributions(
    pixels: np.ndarray, captions: Sequence[str], attributions: np.ndarray, heat: np.ndarray | None, path: Path
) -> None:
    """A line for each image: as it is, its integrated gradients, and its Grad-CAM if there is one.

    Args:
        pixels: uint8 (N, H, W, C).
        captions: N.
        attributions: float (N, H, W, C).
        heat: float (N, H, W), 0 to 1.
    """
    columns = 2 if heat is None else 3
    figure = Figure(figsize=(_SIDE * (columns + 1.1), _SIDE * len(pixels) + 1), layout="constrained")
    grid = figure.subplots(len(pixels), columns, squeeze=False)
    for number, (line, image) in enumerate(zip(grid, pixels, strict=True)):
        _show(line[0], image)
        _beside(line[0], captions[number])
        _show_signed(line[1], attributions[number].sum(axis=2))
        if heat is not None:
            _show(line[2], image)
            line[2].imshow(heat[number], cmap=_HEAT, vmin=0, vmax=1, alpha=0.5)
    for axes, title in zip(grid[0], ("image", "integrated gradients", "Grad-CAM"), strict=False):
        axes.set_title(title, fontsize=10)
    signed = ScalarMappable(Normalize(-1, 1), _SIGNED)
    bar = figure.colorbar(signed, ax=grid[:, 1], location="bottom", ticks=(-1, 1), aspect=12, pad=0.02)
    bar.ax.set_xticklabels(["against", "for"], fontsize=8)
    if heat is not None:
        warm = ScalarMappable(Normalize(0, 1), _HEAT)
        bar = figure.colorbar(warm, ax=grid[:, 2], location="bottom", ticks=(0, 1), aspect=12, pad=0.02)
        bar.ax.set_xticklabels(["none", "most"], fontsize=8)
    figure.savefig(path, dpi=110)


def draw_neighbours(
    pixels: np.ndarray,
    captions: Sequence[str],
    neighbours: Sequence[np.ndarray],
    labels: Sequence[Sequence[str]],
    path: Path,
) -> None:
    """A line for each image: as it is, and the training images nearest to it.

    Args:
        pixels: uint8 (N, H, W, C).
        captions: N.
        neighbours: of each image, uint8 (K, H, W, C).
        labels: of each image, what stands above its K neighbours.
    """
    columns = 1 + max(map(len, neighbours))
    figure = Figure(figsize=(_SIDE * 0.8 * (columns + 1.4), _SIDE * len(pixels)), layout="constrained")
    grid = figure.subplots(len(pixels), columns, squeeze=False)
    for number, line in enumerate(grid):
        for axes in line:
            axes.set_axis_off()
        _show(line[0], pixels[number])
        _beside(line[0], captions[number])
        for axes, image, label in zip(line[1:], neighbours[number], labels[number], strict=False):
            _show(axes, image)
            axes.set_title(_plain(label), fontsize=8)
    figure.savefig(path, dpi=110)


def draw_importance(found: Sequence[Importance], loss: str, path: Path) -> None:
    """Bars, the most important on top, with whiskers over the permutations."""
    shown = list(found[:MOST])[::-1]
    figure = Figure(figsize=(7, 0.32 * len(shown) + 1.2), layout="constrained")
    axes = figure.subplots()
    means = np.array([each.increase for each in shown])
    whiskers = np.abs([[each.low for each in shown] - means, [each.high for each in shown] - means])
    axes.barh([_short(each.name) for each in shown], means, xerr=whiskers, color="#4c78a8", ecolor="#333", capsize=2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"increase of {loss.replace('_', ' ')}")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)


def draw_contributions(captions: Sequence[str], explained: Sequence[dict[str, Any]], path: Path) -> None:
    """For each row a plot of what its columns, and the words of its texts, add to the prediction, the largest on top.

    Args:
        captions: one for each row.
        explained: as `tasks.runtime.explanation.explain` gives them.
    """
    shown = [_bars(each)[:_PARTS][::-1] for each in explained]
    heights = [0.28 * max(1, len(each)) + 0.8 for each in shown]
    figure = Figure(figsize=(7, sum(heights) + 0.4), layout="constrained")
    plots = figure.subplots(len(shown), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, caption, bars in zip(plots, captions, shown, strict=True):
        names, values = [name for name, _ in bars], [value for _, value in bars]
        axes.barh(range(len(values)), values, color=[FOR if value > 0 else AGAINST for value in values])
        axes.set_yticks(range(len(values)), names, fontsize=8)
        axes.set_title(_plain(caption), fontsize=9, loc="left")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.tick_params(labelbottom=True, labelsize=8)
        axes.grid(axis="x", alpha=0.3)
    plots[-1].set_xlabel("contribution to the prediction, against the typical row")
    figure.savefig(path, dpi=110)


def _bars(explained: dict[str, Any]) -> list[tuple[str, float]]:
    """Names and contributions, the largest first; a text's words stand in its place."""
    texts = explained.get("words", {})
    bars = [
        (f"{_short(each['column'])} = {_short(_text(each['value']))}", each["contribution"])
        for each in explained["contributions"]
        if each["column"] not in texts
    ]
    bars += [(_short(each["word"]), each["contribution"]) for words in texts.values() for each in words]
    return sorted(bars, key=lambda bar: -abs(bar[1]))


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.set_axis_off()
    if image.shape[2] == 1:
        axes.imshow(image[:, :, 0], cmap="gray", vmin=0, vmax=255)
    else:
        axes.imshow(image)


def _show_signed(axes: Axes, values: np.ndarray) -> None:
    """White is 0; a few extreme pixels do not take the colours from all others."""
    reach = float(np.percentile(np.abs(values), 99)) or 1.0
    axes.set(xticks=(), yticks=())
    axes.imshow(values, cmap=_SIGNED, vmin=-reach, vmax=reach)


def _beside(axes: Axes, caption: str) -> None:
    axes.text(-0.08, 0.5, _plain(caption), transform=axes.transAxes, ha="right", va="center", fontsize=8)


def _short(text: str) -> str:
    return _plain(text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…")


def _plain(text: str) -> str:
    """The text as it stands: two dollars would make a formula of what is between them."""
    return text.replace("$", r"\$")


def _text(value: Any) -> str:
    return "missing" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
