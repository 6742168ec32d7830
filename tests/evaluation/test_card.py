"""The model card: what it tells, that it stands alone, and that nothing in it can do harm."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.artifacts import Manifest, Rows
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.evaluation import card_page
from tests.digits import open_platform, png, project
from tests.reports import everywhere, make_report, measured, part
from tests.stages import stage

PARAMS = {"trial": 1, "params": {"model.dropout": 0.25, "model.units": [32, 16]}}
TRIALS = [{"number": n, "params": PARAMS["params"], "value": 0.9, "loss": 0.1, "state": "COMPLETE"} for n in range(2)]
HISTORY = [{"loss": 1.0, "val_loss": 1.1}, {"loss": 0.5, "val_loss": 0.6}]
BINS = [{"low": 0.0, "high": 1.0, "rows": 100, "confidence": 0.9, "accuracy": 0.9}]
CALIBRATION = {
    "temperature": 1.5,
    "fitted_on": 50,
    "untempered": {"bins": BINS, "calibration_error": 0.02, "log_loss": 0.1},
    "tempered": {"bins": BINS, "calibration_error": 0.01, "log_loss": 0.09},
}
DAYS = ("2026-01-01", "2026-01-02")


def full_report(candidate: float = 0.97, champion: float | None = 0.96) -> dict[str, Any]:
    """A report with something in every section."""
    slices = [part("dark", 0.9), part("label = <b>8</b>", 0.7, found=True, p_value=0.4)]
    seen = {"intervals": {"accuracy": [0.7, 0.9]}, "rows": 100, "against_champion": None}
    tests = {name: {"metrics": everywhere(value), **seen} for name, value in (("undisturbed", 0.97), ("blur", 0.8))}
    report = make_report(candidate, 0.9, champion, 0.01, slices=slices, robustness=tests)
    report["forms"]["int8"] = measured(0.5, against=report["against"])
    return report


@dataclass
class Run:
    """The stages of a train pipeline, each leaving what the platform's own would."""

    spec: Project = field(default_factory=lambda: project({"gates": [{"metric": "accuracy", "min": 0.95}]}))
    report: dict[str, Any] = field(default_factory=full_report)
    params: Any = field(default_factory=lambda: PARAMS)
    as_served: str = "untempered"
    made: dict[str, list[Manifest]] = field(default_factory=dict)

    def card(self) -> Manifest:
        """Runs all of them, gate and card for real."""
        for day in DAYS:
            self._leave("ingest", (), {"rows.txt": day.encode()}, partition=day, rows=Rows(received=60, published=60))
            rows = Rows(received=60, published=58, quarantined=2)
            self._leave("validate", ("ingest",), {}, partition=day, rows=rows, reasons={"unknown_label": 2})
        self._leave("dataset", ("validate",), {}, {"train": 80, "validation": 16, "test": 20})
        self._leave("transform", ("dataset",), {})
        self._leave("tune", ("dataset",), {}, {"trials": TRIALS, "best": PARAMS["params"]}, partition="worker-00")
        files = {"params.json": self.params, "history.json": HISTORY, "curves.png": _picture(1)}
        self._leave("train", ("dataset", "tune"), files, {"weights_digest": "ab" * 32, "epochs": 2, "accuracy": 0.99})
        self._leave("report", ("tune", "train"), {"optimization_history.png": _picture(2)})
        self._leave("export", ("train",), {}, {"forms": {"plain": {"runtime": "onnx", "bytes": 1000}}})
        explained = {"pictures": [{"file": "explain/wrong.png", "caption": "The worst & the best."}]}
        calibration = {**CALIBRATION, "as_served": self.as_served}
        files = {"explain.json": explained, "explain/wrong.png": _picture(3), "confusion.png": _picture(4)}
        self._leave("evaluate", ("dataset", "train", "export"), {**files, "calibration.json": calibration}, self.report)
        platform = open_platform()
        gate = platform.run("tasks.evaluation.gates:gate", self.spec, evaluate=self.made["evaluate"])
        self.made["gate"] = [gate]
        names = ("dataset", "transform", "tune", "train", "report", "export", "evaluate", "gate")
        inputs: dict[str, Any] = {name: self.made[name] for name in names}
        return platform.run("tasks.evaluation.card:card", self.spec, **inputs)

    def _leave(
        self,
        name: str,
        sources: tuple[str, ...],
        files: Mapping[str, Any],
        metrics: Mapping[str, Any] | None = None,
        partition: str | None = None,
        rows: Rows | None = None,
        reasons: Mapping[str, int] | None = None,
    ) -> None:
        def work(ctx: Context) -> Outcome:
            for file, content in files.items():
                (ctx.out / file).parent.mkdir(exist_ok=True)
                (ctx.out / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
            return Outcome(rows or Rows(), reasons or {}, metrics or {})

        platform = open_platform()
        inputs = {
            source: [m for m in self.made[source] if not partition or m.partition in (None, partition)]
            for source in sources
        }
        place = {"store": platform.store, "registry": platform.registry, "partition": partition}
        made = execute(stage(name, reproducible=False)(work), self.spec, inputs, **place)  # type: ignore[arg-type]
        self.made.setdefault(name, []).append(made)


def _picture(level: int) -> bytes:
    return png(np.full((4, 4), level, np.uint8))


def _read(manifest: Manifest, name: str) -> str:
    return open_platform().store.read_bytes(f"{manifest.folder}/{name}").decode()


class _Page(HTMLParser):
    """What a browser would load, follow or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_that_loads_and_runs_nothing(home: Path) -> None:
    text = _read(Run().card(), "card.html")
    page = _Page(text)
    assert "script" not in page.tags and "link" not in page.tags and "iframe" not in page.tags
    assert page.tags.count("img") == 4
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert "url(" not in text and "@import" not in text
    assert {load[1:] for load in page.loads if load.startswith("#")} <= set(_ids(text))


def _ids(text: str) -> list[str]:
    return [piece.partition('"')[0] for piece in text.split('id="')[1:]]


def test_what_stands_in_the_data_is_shown_as_it_is_and_never_as_a_page(home: Path) -> None:
    spec = project({"gates": [{"metric": "accuracy", "min": 0.95}]})
    run = Run(spec.model_copy(update={"description": "<script>alert(1)</script>", "classes": ("<img src=x>", "b")}))
    page = _Page(_read(run.card(), "card.html"))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text and "<img src=x>" in page.text
    assert "label = <b>8</b>" in page.text and "The worst & the best." in page.text


def test_the_card_tells_data_params_measures_gates_and_lineage(home: Path) -> None:
    run = Run()
    manifest = run.card()
    card = json.loads(_read(manifest, "card.json"))
    assert card["data"]["splits"] == {"train": 80, "validation": 16, "test": 20}
    assert card["data"]["left_out"] == {"unknown_label": 4}
    digests = [made.digest for made in run.made["ingest"]]
    wanted = [
        {"partition": d, "digest": g, "in": 60, "published": 58, "quarantined": 2}
        for d, g in zip(DAYS, digests, strict=True)
    ]
    assert card["data"]["partitions"] == wanted
    assert card["params"] == PARAMS and card["learning_curves"] == HISTORY and card["study"]["trials"] == 2
    assert card["evaluation"] == run.report and card["decision"] == run.made["gate"][0].metrics
    assert [link["stage"] for link in card["lineage"]] == [
        *("ingest", "validate", "ingest", "validate", "dataset", "tune", "train", "export", "evaluate", "gate")
    ]
    assert {link["digest"] for link in card["lineage"]} >= {*digests, run.made["train"][0].digest}
    assert card["candidate"]["weights"] == "ab" * 32
    assert Project.model_validate(card["spec"]) == run.spec
    assert card["reproduce"] == f"updraft reproduce {manifest.folder}/card.json"
    assert card["environment"]["libraries"]["keras"] and len(card["environment"]["lock"]) == 64


def test_the_page_shows_the_verdict_the_intervals_and_every_section(home: Path) -> None:
    text = _Page(_read(Run().card(), "card.html")).text
    for shown in (
        *("passed its gates", "accuracy at least 0.95", "0.9700", "version 3", "+0.0200"),
        *("dark", "40", "blur", "0.8000", "int8", "latency, 1 row", "unknown label 4", "model.dropout", "0.2500"),
        *("log loss", "calibration error", "1.5000", "2026-01-01", "updraft reproduce digits/card/"),
    ):
        assert shown in text, shown


@pytest.mark.parametrize(
    ("as_served", "told"),
    [
        ("untempered", "error is 0.0200; at the temperature 1.5000, fitted on 50 validation rows, it would be 0.0100"),
        ("tempered", "error is 0.0100 as served, at the temperature 1.5000, fitted on 50 validation rows; without it"),
    ],
)
def test_the_page_tells_the_calibration_as_served_and_the_other_way(home: Path, as_served: str, told: str) -> None:
    assert told in _Page(_read(Run(as_served=as_served).card(), "card.html")).text


def test_a_refused_candidate_has_a_card_that_says_why(home: Path) -> None:
    manifest = Run(report=full_report(0.9)).card()
    assert manifest.metrics == {"passed": False, "chosen": None}
    text = _Page(_read(manifest, "card.html")).text
    assert "not promoted" in text and "✗ failed" in text and "0.9000" in text


def test_without_champion_its_columns_are_left_out(home: Path) -> None:
    text = _Page(_read(Run(report=full_report(champion=None)).card(), "card.html")).text
    assert "no champion" in text and "candidate \N{MINUS SIGN} champion" not in text


def test_an_ensemble_tells_the_parameters_of_each_member(home: Path) -> None:
    run = Run(params={"trial 1": {"model.dropout": 0.1}, "trial 4": {"model.dropout": 0.4}})
    text = _Page(_read(run.card(), "card.html")).text
    assert "trial 1" in text and "0.1000" in text and "trial 4" in text and "0.4000" in text


def test_a_regression_is_told_in_its_own_measures(home: Path) -> None:
    report = json.loads(json.dumps(full_report()).replace('"accuracy"', '"r2"').replace('"log_loss"', '"rmse"'))
    report = json.loads(json.dumps(report).replace('"balanced_accuracy"', '"mae"'))
    changes = {"task": "image_regression", "classes": [], "gates": [{"metric": "r2", "min": 0.5}]}
    values = project().model_dump(mode="json") | changes
    text = _Page(_read(Run(Project.model_validate(values), report).card(), "card.html")).text
    assert "R²" in text and "root mean squared error" in text and "r2 at least 0.5" in text


def test_values_that_are_not_defined_are_dashes(home: Path) -> None:
    report = full_report()
    report["forms"]["plain"]["slices"][0]["metrics"] = dict.fromkeys(report["candidate"])
    assert "\N{EN DASH}" in _Page(_read(Run(report=report).card(), "card.html")).text


def test_another_template_is_another_card(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Run().card()
    assert Run().card().cache == "HIT"
    other = tmp_path / "card.html.jinja"
    other.write_text("<!doctype html><title>{{ project }}</title>")
    monkeypatch.setattr(card_page, "_TEMPLATE", other)
    second = Run().card()
    assert second.key != first.key
    assert _read(second, "card.html") == "<!doctype html><title>digits</title>"


def test_the_card_names_no_path_of_this_machine(home: Path) -> None:
    manifest = Run().card()
    assert str(settings().home) not in _read(manifest, "card.html") + _read(manifest, "card.json")
