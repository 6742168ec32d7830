"""The compress stage over digits: pruned and distilled forms of a candidate."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import pytest

from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import BadInput
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tests import packages
from tests.digits import Platform, at_home, project
from tests.stages import stage
from tests.training.skewed import line, write

ROWS = 300
SPARSITY = 0.7
FORMS = [
    {"kind": "float16"},
    {"kind": "pruned", "sparsity": SPARSITY, "epochs": 8},
    {"kind": "distilled", "epochs": 15, "weight": 1.0, "set": {"units": [12]}},
]
SPEC = {
    "model.family": "convnet",
    "model.filters": [6],
    "model.dropout": 0.0,
    "training.epochs": 20,
    "training.early_stopping": {"patience": 9},
}
PARAMS = {"model.units": [24], "training.learning_rate": 0.01}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with at_home(tmp_path_factory.mktemp("home")) as platform:
        yield platform


@stage("train", "model", "training", "description", reproducible=False)
def _train(ctx: Context) -> Outcome:
    """As the train stage publishes one model, or an ensemble: ``description`` has the members' parameters."""
    from tasks.models import ensemble
    from tasks.training.loop import Job, fit

    folders = [ctx.store.fetch(ctx.input(name).folder) for name in ("dataset", "transform")]
    params = json.loads(ctx.spec.description)
    specs = [replace(ctx.spec, each) for each in params]
    models = [fit(Job(spec, *folders, epochs=spec.training.epochs), lambda line: None)[0] for spec in specs]
    told = (
        {f"trial {n}": each for n, each in enumerate(params)} if len(params) > 1 else {"trial": 0, "params": params[0]}
    )
    (ctx.out / "params.json").write_text(json.dumps(told))
    (models[0] if len(models) == 1 else ensemble.join(ctx.spec, models)).save(ctx.out / "model.keras")
    return Outcome()


def _inputs(
    platform: Platform, spec: Project, *params: Mapping[str, Any], data: dict[str, list[Manifest]] | None = None
) -> dict[str, list[Manifest]]:
    made = data or platform.data(spec, ROWS)
    described = spec.model_copy(update={"description": json.dumps(params)})
    return made | {"train": [execute(_train, described, made, **vars(platform))]}


def _compressed(platform: Platform, spec: Project, inputs: Mapping[str, list[Manifest]]) -> Manifest:
    return platform.run("tasks.training.compress:compress", spec, **inputs)


def _load(platform: Platform, manifest: Manifest, name: str) -> keras.Model:
    return keras.models.load_model(platform.store.fetch(f"{manifest.folder}/{name}"), compile=False)


def _kernels(model: keras.Model) -> list[np.ndarray]:
    return [each.numpy() for each in model.trainable_variables if each.name.endswith("kernel")]


def _rows(platform: Platform, inputs: Mapping[str, list[Manifest]]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    from tasks.core.shards import read_split

    folders = [platform.store.fetch(inputs[name][0].folder) for name in ("dataset", "transform")]
    split = read_split(folders[0], "validation")
    return {"image": split.images, "features": np.load(folders[1] / "validation.npy")}, split.labels


@pytest.fixture(scope="module")
def candidate(platform: Platform) -> dict[str, list[Manifest]]:
    """What the stage is given."""
    return _inputs(platform, project(SPEC), PARAMS)


@pytest.fixture(scope="module")
def compressed(platform: Platform, candidate: dict[str, list[Manifest]]) -> Manifest:
    """Both forms of it."""
    return _compressed(platform, project(SPEC | {"packaging.forms": FORMS}), candidate)


def test_forms_that_need_no_training_are_none_of_this_stage(
    platform: Platform, candidate: dict[str, list[Manifest]]
) -> None:
    empty = _compressed(platform, project(SPEC | {"packaging.forms": FORMS[:1]}), candidate)
    assert (empty.outputs, empty.metrics) == ({}, {})


def test_the_pruned_share_of_each_kernel_is_zero(
    platform: Platform, candidate: dict[str, list[Manifest]], compressed: Manifest
) -> None:
    before = _kernels(_load(platform, candidate["train"][0], "model.keras"))
    after = _kernels(_load(platform, compressed, "pruned/model.keras"))
    assert [kernel.shape for kernel in after] == [kernel.shape for kernel in before]
    for old, new in zip(before, after, strict=True):
        assert (new == 0).mean() == pytest.approx(SPARSITY, abs=1 / new.size)
        # The others went on from where the candidate was, and are other ones now.
        left = new != 0
        assert not np.array_equal(old[left], new[left])
        assert np.corrcoef(old[left], new[left])[0, 1] > 0.8
    assert 0.5 < compressed.metrics["pruned"]["zeros"] < SPARSITY


def test_a_pruned_model_is_nearly_as_good(
    platform: Platform, candidate: dict[str, list[Manifest]], compressed: Manifest
) -> None:
    rows, labels = _rows(platform, candidate)
    models = (
        _load(platform, candidate["train"][0], "model.keras"),
        _load(platform, compressed, "pruned/model.keras"),
    )
    right = [(model.predict(rows, verbose=0).argmax(axis=1) == labels).mean() for model in models]
    assert right[0] > 0.7
    assert right[1] > right[0] - 0.15


def test_a_student_is_smaller_and_learned_from_the_teacher_alone(
    platform: Platform, candidate: dict[str, list[Manifest]], compressed: Manifest
) -> None:
    teacher = _load(platform, candidate["train"][0], "model.keras")
    student = _load(platform, compressed, "distilled/model.keras")
    assert student.count_params() == compressed.metrics["distilled"]["parameters"] < teacher.count_params()
    assert student.get_layer("dense1").units == 12
    rows, _ = _rows(platform, candidate)
    answers = [model.predict(rows, verbose=0).argmax(axis=1) for model in (teacher, student)]
    # ``weight: 1``: no label was in its loss.
    assert (answers[0] == answers[1]).mean() > 0.7


def test_the_members_of_an_ensemble_are_pruned_one_by_one(platform: Platform) -> None:
    spec = project(SPEC | {"training.epochs": 1, "packaging.forms": [FORMS[1] | {"epochs": 1}]})
    other = PARAMS | {"model.units": [16]}
    inputs = _inputs(platform, spec.model_copy(update={"packaging": project().packaging}), PARAMS, other)
    pruned = _load(platform, _compressed(platform, spec, inputs), "pruned/model.keras")
    members = [pruned.get_layer(f"member_{number}") for number in range(2)]
    assert [member.get_layer("dense1").units for member in members] == [24, 16]
    for member in members:
        for kernel in _kernels(member):
            assert (kernel == 0).mean() == pytest.approx(SPARSITY, abs=1 / kernel.size)
    assert pruned.predict(_rows(platform, inputs)[0], verbose=0).shape == (len(_rows(platform, inputs)[1]), 10)


def _prices(form: dict[str, Any]) -> Project:
    """A regression, with one form of its model."""
    options = {"training.epochs": 15, "training.batch_size": 16, "packaging.forms": [form]}
    return replace(packages.project("prices"), options)


def _numbers(platform: Platform, slope: float = 3000) -> dict[str, list[Manifest]]:
    """Its rows: labels along a line, which are far from 0 and far apart."""

    @stage("dataset", outside=lambda ctx: {"slope": slope})
    def numbers(ctx: Context) -> Outcome:
        write(ctx.out, train=line(256, 1, slope), validation=line(63, 2, slope))
        return Outcome()

    made = execute(numbers, packages.project("prices"), {}, **vars(platform))
    return {"dataset": [made], "transform": [made]}


def _said(model: keras.Model) -> np.ndarray:
    return model.predict({"features": line(50, 3).features[0]}, verbose=0)[:, 0]


@pytest.mark.parametrize("members", [1, 2])
def test_a_pruned_regression_answers_in_the_unit_of_its_labels(platform: Platform, members: int) -> None:
    spec = _prices(FORMS[1])
    inputs = _inputs(platform, spec, *[PARAMS, PARAMS | {"model.units": [16]}][:members], data=_numbers(platform))
    compressed = _compressed(platform, spec, inputs)
    pruned = _load(platform, compressed, "pruned/model.keras")
    for kernel in _kernels(pruned):
        assert (kernel == 0).mean() == pytest.approx(SPARSITY, abs=1 / kernel.size)
    assert compressed.metrics["pruned"]["val_r2"] > 0.99
    labels = line(50, 3).labels
    assert np.abs(_said(pruned) - labels).mean() < 0.1 * labels.std()


def test_the_student_of_a_regression_gives_the_teachers_numbers(platform: Platform) -> None:
    """Of labels that rise where those it is trained beside fall, and have another unit."""
    spec = _prices(FORMS[2])
    taught = _inputs(platform, spec, PARAMS, data=_numbers(platform))
    compressed = _compressed(platform, spec, taught | _numbers(platform, slope=-2000))
    teacher = _load(platform, taught["train"][0], "model.keras")
    student = _load(platform, compressed, "distilled/model.keras")
    assert student.count_params() < teacher.count_params()
    assert np.abs(_said(student) - _said(teacher)).mean() < 0.1 * _said(teacher).std()


@pytest.mark.parametrize("fields", [{"familly": "mlp"}, {"units": "many"}, {"family": "transformer"}, {"start": None}])
def test_a_student_that_cannot_be_built_is_refused_with_the_spec(fields: dict[str, Any]) -> None:
    assert project({"packaging.forms": [{"kind": "distilled", "set": {"family": "mlp"}}]}).packaging.forms
    with pytest.raises(BadInput, match=next(iter(fields))):
        project({"packaging.forms": [{"kind": "distilled", "set": fields}]})
