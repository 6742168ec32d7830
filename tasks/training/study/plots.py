"""The study and the learning curves as plots: interactive ones for a page, pictures for a card."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import matplotlib.pyplot as plt
import optuna
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import TrialState

from tasks.training.checkpoint import History


def interactive(study: optuna.Study) -> dict[str, go.Figure]:
    """Title to plot, for what the study has enough trials to show."""
    return {title: _quietly(getattr(optuna.visualization, name), study) for title, name in _fitting(study).items()}


def draw(study: optuna.Study, folder: Path) -> list[str]:
    """The same as PNGs in ``folder``, called after their titles; returns the files' names."""
    names = []
    for title, name in _fitting(study).items():
        with plt.rc_context():  # Optuna sets a style for the whole process
            axes = _quietly(getattr(optuna.visualization.matplotlib, name), study)
        figure = cast(Figure, (axes if isinstance(axes, Axes) else axes.flat[0]).figure)
        figure.set_size_inches(8, 4.5)
        names.append(f"{title.lower().replace(' ', '_')}.png")
        figure.savefig(folder / names[-1], dpi=100, bbox_inches="tight")
        plt.close(figure)
    return names


def learning_curves(histories: Mapping[str, History]) -> go.Figure:
    """Loss and score by epoch, of the training split (as it learned) and of the validation split.

    Args:
        histories: of each model of an ensemble, by its name.
    """
    figure = go.Figure(layout={"xaxis": {"title": "epoch"}})
    for model, history in histories.items():
        for measure in (name for name in history[0] if isinstance(history[0][name], float)):
            if measure in ("seconds", "learning_rate"):
                continue
            values = [entry[measure] for entry in history]
            label = f"{measure} {model}".strip()
            figure.add_scatter(x=list(range(1, len(values) + 1)), y=values, name=label)
    return figure


def _fitting(study: optuna.Study) -> dict[str, str]:
    """Title to Optuna's name of the plots that this study can fill."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return {}
    if len(study.directions) > 1:
        return {"Pareto front": "plot_pareto_front"}
    plots = {"Optimization history": "plot_optimization_history"}
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        plots["Score by epoch"] = "plot_intermediate_values"
    if complete[0].params:
        plots["Parallel coordinates"] = "plot_parallel_coordinate"
    if len({trial.value for trial in complete}) > 1 and _varied(complete):
        plots["Parameter importance"] = "plot_param_importances"
    return plots


def _varied(trials: list[optuna.trial.FrozenTrial]) -> bool:
    """Whether there is a parameter that all trials have and not all alike: without one, no importance can be told."""
    shared = set.intersection(*(set(trial.params) for trial in trials))
    return any(len({trial.params[name] for trial in trials}) > 1 for name in shared)


def _quietly(plot: Callable[[optuna.Study], Any], study: optuna.Study) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return plot(study)
