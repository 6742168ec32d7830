"""The learning curves, as a picture."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.training.checkpoint import History


def draw(history: History, path: Path) -> None:
    """Writes a PNG: loss and accuracy by epoch, of the training split (as it learned) and of the validation split."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    epochs = range(1, len(history) + 1)
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [entry[metric] for entry in history], label="train")
        axes.plot(epochs, [entry[f"val_{metric}"] for entry in history], label="validation")
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100)
