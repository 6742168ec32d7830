"""The learning curves, as a picture."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.training.checkpoint import History


def draw(history: History, path: Path) -> None:
    """Writes a PNG: by epoch, each measure that both splits have, and the learning rate."""
    measures = [name for name in history[0] if f"val_{name}" in history[0]]
    figure = Figure(figsize=(4.5 * (len(measures) + 1), 3.5), layout="constrained")
    epochs = range(1, len(history) + 1)
    *plots, last = figure.subplots(1, len(measures) + 1)
    for axes, measure in zip(plots, measures, strict=True):
        axes.plot(epochs, [entry[measure] for entry in history], label="train")
        axes.plot(epochs, [entry[f"val_{measure}"] for entry in history], label="validation")
        axes.set(ylabel=measure)
        axes.legend()
    last.plot(epochs, [entry["learning_rate"] for entry in history])
    last.set(ylabel="learning rate")
    for axes in (*plots, last):
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
