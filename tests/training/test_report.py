"""The report stage: what a person sees of a training and its study."""

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tasks.core.artifacts import Manifest
from tasks.core.stages import Context, Outcome, execute
from tests.digits import open_platform, project
from tests.stages import stage

SPACE = {"training.learning_rate": {"low": 0.001, "high": 0.1}, "model.units": {"values": [[16], [32]]}}
HISTORY = [
    {"loss": 2.0 / n, "accuracy": 0.2 * n, "val_loss": 2.1 / n, "val_accuracy": 0.19 * n, "learning_rate": 0.01 / n}
    for n in (1, 2, 3)
]


@stage("tune", "description", reproducible=False)
def _tune(ctx: Context) -> Outcome:
    return Outcome(metrics={"trials": json.loads(ctx.spec.description)})


@stage("train", "description", reproducible=False)
def _train(ctx: Context) -> Outcome:
    (ctx.out / "history.json").write_text(json.dumps(HISTORY))
    return Outcome(metrics={"val_accuracy": 0.57, "weights_digest": "abc"})


def _trial(number: int, state: str = "COMPLETE", **more: Any) -> dict[str, Any]:
    params = {"training.learning_rate": 0.002 * (number + 1), "model.units": [16, 32][number % 2 : number % 2 + 1]}
    scores = [0.1 * (number + 1), 0.15 * (number + 1)]
    value = None if state == "FAIL" else scores[-1]
    told = {"number": number, "params": params, "state": state, "value": value, "loss": 1.0, "epochs": 2}
    return told | {"scores": scores} | more


def _report(trials: list[dict[str, Any]], tuning: Mapping[str, Any]) -> tuple[Manifest, Path]:
    platform = open_platform()
    values = {f"tuning.{name}": value for name, value in tuning.items()}
    spec = project(values | {"tuning.space": SPACE, "description": json.dumps(trials)})
    made = {"store": platform.store, "registry": platform.registry}
    inputs = {source.name: [execute(source, spec, {}, **made)] for source in (_tune, _train)}
    manifest = platform.run("tasks.training.report:report", spec, **inputs)
    return manifest, platform.store.fetch(manifest.folder)


class _Loads(HTMLParser):
    """What a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_shows_the_curves_the_study_and_every_trial_and_loads_nothing(home: Path) -> None:
    manifest, folder = _report([_trial(0), _trial(1), _trial(2, "PRUNED"), _trial(3, "FAIL"), _trial(4)], {})
    page = (folder / "report.html").read_text()
    headings = ["Learning curves", "Optimization history", "Score by epoch", "Parallel coordinates"]
    assert re.findall("<h2>(.*?)</h2>", page) == [*headings, "Parameter importance", "Trials"]
    assert page.count("Plotly.newPlot(") >= 5
    assert re.findall(r"<tr><td>(\d+)<td>(\w+)<td>", page) == [
        *[("0", "COMPLETE"), ("1", "COMPLETE"), ("2", "PRUNED"), ("3", "FAIL"), ("4", "COMPLETE")]
    ]
    loads = _Loads()
    loads.feed(page)
    assert loads.found == []
    pictures = [name for name in manifest.metrics["plots"] if name.endswith(".png")]
    assert len(pictures) == 4
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_shows_the_pareto_front_of_several_objectives(home: Path) -> None:
    tuning = {"sampler": "nsga2", "objectives": ["score", "size"]}
    trials = [_trial(n, objectives={"score": 0.1 * n, "size": 100.0 * n}) for n in (0, 1, 2)]
    manifest, folder = _report(trials, tuning)
    assert manifest.metrics["plots"] == ["report.html", "pareto_front.png"]
    assert "<h2>Pareto front</h2>" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    "trials", [[_trial(0) | {"params": {}}], [_trial(0), _trial(1) | {"params": _trial(0)["params"]}]]
)
def test_shows_what_few_trials_can_tell(home: Path, trials: list[dict[str, Any]]) -> None:
    _, folder = _report(trials, {})
    page = (folder / "report.html").read_text()
    assert "Optimization history" in page
    assert "Parameter importance" not in page
