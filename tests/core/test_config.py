"""The project spec: what is accepted, and what a person is told about the rest."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.config import load_project, parse_overrides, project_names, read_yaml
from tasks.core.errors import BadInput
from tasks.core.settings import ROOT, settings


@pytest.fixture
def write(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the digits spec under another name with some fields changed; returns its name."""
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path))
    settings.cache_clear()
    values = read_yaml((ROOT / "projects" / "digits.yaml").read_text())
    del values["evaluation"]  # of images alone, and gates with it
    values["gates"] = [gate for gate in values["gates"] if "on" not in gate]

    def write(**changes: Any) -> str:
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**values, "name": "mine", **changes}))
        return "mine"

    return write


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "projects").glob("*.yaml")])
def test_every_shipped_project_loads(name: str) -> None:
    assert load_project(name).name == name
    assert name in project_names()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"trainning": {}}, "trainning: unknown key. Did you mean 'training'?"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key. Did you mean 'epochs'?"),
        ({"training": {"ranks": 3, "batch_size": 32}}, "batch_size 32 must be a multiple of ranks 3"),
        ({"split": {"train": 0.9}}, "train + validation + test must be 1"),
        ({"split": {"train": 1, "validation": 0, "test": 0}}, "must each be above 0"),
        ({"classes": ["a", "a"]}, "the same class is listed twice"),
        ({"features": [{"kind": "sfit"}]}, "features.0"),
        ({"gates": [{"metric": "accuracy"}]}, "exactly one of min, max and beats"),
        ({"tuning": {"space": {"training.speed": {"low": 0, "high": 1}}}}, "'training.speed' is no field"),
        ({"tuning": {"space": {"training.ranks": {"values": [1, 2]}}}}, "that a trial can vary"),
        ({"tuning": {"space": {"model.dropout": {"low": 3, "high": 1}}}}, "low 3 must be below high 1"),
        ({"tuning": {"space": {"model.dropout": {"low": 3}}}}, "give either values, or low and high"),
        ({"tuning": {"space": {"model.start": {"values": ["champion"]}}}}, "that a trial can vary"),
        (
            {"tuning": {"space": {"model.family": {"values": ["vit", "resnett"]}}}},
            "model.family does not take 'resnett'",
        ),
        ({"tuning": {"space": {"model.family": {"values": ["vit", "transformer"]}}}}, "transformer is not for images"),
        ({"tuning": {"space": {"model.dropout": {"low": 0, "high": 1}}}}, "model.dropout does not take 1.0"),
        (
            {"tuning": {"space": {"model.activation": {"values": ["rellu"]}}}},
            "there is no activation 'rellu'; use one of",
        ),
        ({"tuning": {"sampler": "grid", "space": {"model.dropout": {"low": 0, "high": 0.5}}}}, "a grid needs values"),
        ({"tuning": {"sampler": "nsga2"}}, "nsga2 takes two objectives"),
        ({"tuning": {"sampler": "nsga2", "objectives": ["score", "size"], "pruner": "asha"}}, "cannot prune"),
        (
            {"tuning": {"space": {"model.depth": {"values": [1, 2], "when": {"model.family": ["vgg"]}}}}},
            "'model.family' is not in the space",
        ),
        ({"tuning": {"cross_validate": True}}, "cross_validate needs split.folds"),
        ({"model": {"activation": "rellu"}}, "there is no activation 'rellu'; use one of"),
        ({"model": {"family": "resnett"}}, "'convnet', 'alexnet'"),
        ({"model": {"family": "vit", "width": 30}}, "width 30 must be a multiple of heads 4"),
        ({"model": {"start": {"version": 1, "weights": "a.keras"}}}, "either version or weights"),
        ({"training": {"optimizer": "adamm"}}, "'sgd', 'momentum'"),
        ({"training": {"loss": "mse", "label_smoothing": 0.1}}, "label_smoothing goes with cross_entropy"),
        ({"training": {"sync_every": 2, "accumulate": 2}}, "give one of them"),
        ({"gates": [{"metric": "rmse", "max": 1}]}, "rmse does not measure image_classification"),
        (
            {"features": [{"kind": "image_stats"}, {"kind": "image_stats"}]},
            "image_stats stands twice",
        ),
        ({"features": [{"kind": "image_stats", "name": "label"}]}, "label is a name that Updraft uses itself"),
        ({"features": [{"kind": "numeric", "columns": ["age"]}]}, "numeric does not fit a source of format images"),
        ({"image": None}, "image: give its size for a source of images"),
        ({"task": "tabular_classification"}, "tabular_classification does not fit a source of format images"),
        ({"end": "2025-01-01"}, "end 2025-01-01 is before start 2026-01-01"),
        ({"source": None}, "source"),
        ({"name": "other"}, "Set `name: mine`"),
    ],
)
def test_a_bad_field_is_named_with_the_fix(write: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_project(write(**changes))
    assert told in str(caught.value)
    assert "mine.yaml" in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "told"),
    [("name: [1", "line"), ("- a list", "a mapping"), ("", "a mapping"), (b"\xff\xfe\x00", "not readable as YAML")],
)
def test_a_file_that_is_no_spec_is_named(write: Any, tmp_path: Path, text: str | bytes, told: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as caught:
        load_project("mine")
    assert told in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_an_unknown_project_lists_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"Use one of:.*digits"):
        load_project("nothing")


def test_overrides_change_any_field_and_are_checked() -> None:
    spec = load_project(
        "digits", parse_overrides(["training.ranks=1", "model.units=[8, 8]", "gates=[{metric: accuracy, min: 0.5}]"])
    )
    assert (spec.training.ranks, spec.model.units, spec.gates[0].min) == (1, (8, 8), 0.5)
    for assignment in ("training.ranks=many", "training.rank=1", "nothing.at.all=1", "name.x=1"):
        with pytest.raises(BadInput):
            load_project("digits", parse_overrides([assignment]))
    for assignment in ("training.ranks", "=1", "a=[1"):
        with pytest.raises(BadInput, match="--set"):
            parse_overrides([assignment])


def test_a_section_holds_what_was_asked_for_and_no_more() -> None:
    section = load_project("digits").section("training.seed", "image")
    assert section == {"training.seed": 7, "image": {"height": 8, "width": 8, "channels": 1}}


TABLE: dict[str, Any] = {
    "task": "tabular_classification",
    "source": {
        "uri": "landing/table",
        "format": "table",
        "columns": [{"name": "age", "type": "number"}, {"name": "town", "type": "category"}],
    },
    "image": None,
    "features": [{"kind": "numeric", "columns": ["age"]}, {"kind": "categorical", "columns": ["town"]}],
    "model": {"family": "mlp"},
    "training": {},
}


NUMBERS: dict[str, Any] = {"task": "tabular_regression", "classes": [], "gates": [{"metric": "rmse", "max": 1}]}


def test_a_table_is_a_project_too(write: Any) -> None:
    spec = load_project(write(**TABLE))
    assert spec.image is None
    assert [feature.group for feature in spec.features] == ["numeric", "categorical"]
    assert (spec.outputs, spec.loss, spec.score) == (10, "cross_entropy", "accuracy")


def test_a_regression_predicts_one_number(write: Any) -> None:
    spec = load_project(write(**{**TABLE, **NUMBERS, "training": {"augmentation": {"mixup": 0.2}}}))
    assert (spec.outputs, spec.loss, spec.score) == (1, "mse", "r2")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"features": [{"kind": "numeric", "columns": ["size"]}]}, "source.columns has no 'size'; it has age, town"),
        (
            {"features": [{"kind": "numeric", "columns": ["town"]}]},
            "town is a category column",
        ),
        ({"features": [{"kind": "hog"}]}, "hog does not fit a source of format table"),
        ({"model": {"family": "convnet"}}, "convnet is not for table"),
        ({"training": {"augmentation": {"rotation": 9}}}, "they take mixup alone"),
        ({"task": "tabular_regression"}, "none for a regression"),
        ({**NUMBERS, "training": {"loss": "focal"}}, "take mse, mae or huber"),
        ({**NUMBERS, "sampling": {"balance": "smote"}}, "not for a regression"),
        ({**NUMBERS, "packaging": {"temperature_scaling": True}}, "packaging.temperature_scaling is for classes"),
        ({**NUMBERS, "gates": [{"metric": "accuracy", "min": 0.5}]}, "accuracy does not measure tabular_regression"),
        ({"source": {**TABLE["source"], "columns": [{"name": "label", "type": "number"}]}}, "rename the column"),
        ({"source": {**TABLE["source"], "partitions": "event_time", "event_time": None}}, "need the column event_time"),
    ],
)
def test_a_table_spec_is_checked(write: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_project(write(**{**TABLE, **changes}))
    assert told in str(caught.value)


def test_the_suite_beside_the_file_is_part_of_the_project(write: Any, tmp_path: Path) -> None:
    rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "width", "max_value": 9}}
    name = write()
    (tmp_path / f"{name}.expectations.json").write_text(json.dumps({"name": name, "expectations": [rule]}))
    assert [e.type for e in load_project(name).validation.expectations] == [rule["type"]]
    (tmp_path / f"{name}.expectations.json").write_text("[")
    with pytest.raises(BadInput, match=r"mine.expectations.json: not readable as an expectation suite"):
        load_project(name)


def test_on_off_yes_and_no_are_words(write: Any, tmp_path: Path) -> None:
    assert parse_overrides(["classes=[yes, no]", "a=off"]) == {"classes": ["yes", "no"], "a": "off"}
    assert parse_overrides(["a=true", "b=False"]) == {"a": True, "b": False}
    write(gates=[])
    path = tmp_path / "mine.yaml"
    path.write_text(path.read_text().replace("gates: []", "gates: [{metric: accuracy, on: slices, min: 0.5}]"))
    assert load_project("mine").gates[0].on == "slices"
