"""Candidate, baseline and champion on the same rows; which champion; and the same question asked twice."""

import json
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.errors import StageFailed
from tasks.core.layout import Layout
from tasks.core.registry import Version
from tasks.core.settings import settings
from tasks.core.shards import SPLITS, pack, read_split, write_split
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.evaluation.baseline import logistic_regression
from tasks.evaluation.contenders import check_finite, in_our_order
from tests import exports, packages
from tests.digits import Platform, open_platform, project
from tests.evaluation.stand_ins import export_stage, package_stage, train_stage
from tests.stages import stage

ROWS = 400
QUICK = {"evaluation.resamples": 100, "evaluation.rows": 20, "evaluation.explain": False}
DARK = {"name": "dark", "column": "image_stats.brightness", "max": 0.3}
ONES = {"name": "ones", "column": "label", "values": [1, "7"]}
TESTS = {"evaluation.slices": [DARK, ONES], "evaluation.robustness": ["blur", "fgsm"], "evaluation.slice_rows": 15}
SPEC = project({"training.epochs": 8, **QUICK, **TESTS})


class Case:
    """One platform with a trained candidate; champions come and go."""

    def __init__(self) -> None:
        self.platform: Platform = open_platform()
        self.data = self.platform.data(SPEC, ROWS)
        self.train = execute(train_stage, SPEC, self.data, **vars(self.platform))
        self.export = self.exported(SPEC)

    def exported(self, spec: Project) -> Manifest:
        """The candidate as ``spec`` would have it packaged."""
        return execute(export_stage, spec, {**self.data, "train": [self.train]}, **vars(self.platform))

    def evaluate(self, spec: Project = SPEC) -> Manifest:
        """Executes the stage."""
        target = "tasks.evaluation.evaluate:evaluate"
        return self.platform.run(target, spec, train=[self.train], export=[self.exported(spec)], **self.data)

    def crown(
        self, kind: str, candidate: str, judged_against: int | None = None, classes: str = "0123456789"
    ) -> Version:
        """Makes a stand-in the champion: ``good`` or ``ignorant``, as if ``candidate`` were its training key."""
        registry = self.platform.registry
        spec = SPEC.model_copy(update={"description": kind, "classes": tuple(classes)})
        inputs = {"dataset": self.data["dataset"]}
        package = execute(package_stage, spec, inputs, store=self.platform.store, registry=registry)
        version = registry.register(
            "digits", package.key, package.path, {"candidate": candidate, "judged_against": judged_against}
        )
        before = registry.alias("digits")
        registry.move_alias(
            "digits", "champion", version.version, expected=before and before.version, who="test", why="test"
        )
        return version


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a candidate has been trained."""
    folder = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDRAFT_HOME", str(folder))
        settings.cache_clear()
        Case()
    settings.cache_clear()
    return folder


@pytest.fixture
def case(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """That home's store, with an empty registry. What a package costs, the evaluation of a table measures below."""
    monkeypatch.setattr("tasks.evaluation.evaluate.footprint", lambda folder, sample: {"size_mib": len(sample) / 8})
    monkeypatch.setenv("UPDRAFT_HOME", str(trained))
    monkeypatch.setenv("UPDRAFT_DATABASE_URL", f"sqlite:///{tmp_path / 'registry.db'}")
    settings.cache_clear()
    request = Case()
    assert request.train.cache == request.export.cache == "HIT"
    return request


def test_without_champion(case: Case) -> None:
    manifest = case.evaluate()
    report = manifest.metrics
    assert report["rows"] == manifest.rows.published == 80
    assert report["champion"] is report["champion_measured"] is report["against"]["champion"] is None
    assert report["candidate"]["accuracy"] > 0.8
    assert report["baseline"]["accuracy"] > 0.8

    folder = case.platform.store.fetch(manifest.folder)
    assert json.loads((folder / "report.json").read_text()) == report
    for picture in ("confusion", "reliability", "slices", "robustness"):
        assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    calibration = json.loads((folder / "calibration.json").read_text())
    assert calibration["as_served"] == "untempered" and calibration["fitted_on"] == 40
    assert calibration["untempered"]["calibration_error"] == report["candidate"]["calibration_error"]
    assert sum(each["rows"] for each in calibration["untempered"]["bins"]) == 80


def test_a_candidate_is_measured_at_its_temperature_and_the_report_tells_what_that_does(case: Case) -> None:
    plain, hot = (case.evaluate(spec) for spec in (SPEC, replace(SPEC, {"packaging.temperature_scaling": True})))
    told, other = (
        json.loads(case.platform.store.read_bytes(f"{made.folder}/calibration.json")) for made in (hot, plain)
    )
    assert (told["as_served"], told["temperature"], told["fitted_on"]) == ("tempered", 2, 40)
    for measure in ("calibration_error", "log_loss"):
        assert told["tempered"][measure] == hot.metrics["candidate"][measure] != plain.metrics["candidate"][measure]
    assert told["untempered"] == other["untempered"]
    assert hot.metrics["candidate"]["accuracy"] == plain.metrics["candidate"]["accuracy"]


def test_the_candidate_is_measured_on_the_test_split(case: Case) -> None:
    model = keras.models.load_model(case.platform.store.fetch(f"{case.train.folder}/model.keras"), compile=False)
    test = read_split(case.platform.store.fetch(case.data["dataset"][0].folder), "test")
    features = np.load(case.platform.store.fetch(f"{case.data['transform'][0].folder}/test.npy"))
    right = model.predict({"image": test.images, "features": features}, verbose=0).argmax(axis=1) == test.labels
    assert case.evaluate().metrics["candidate"]["accuracy"] == round(float(right.mean()), 6)


def test_slices_tests_and_footprint_of_every_form(case: Case) -> None:
    report = case.evaluate().metrics
    test = read_split(case.platform.store.fetch(case.data["dataset"][0].folder), "test")
    plain, other = report["forms"].values()
    assert list(report["forms"]) == ["plain", "int8"] and plain["metrics"] == report["candidate"] != other["metrics"]
    for form in (plain, other):
        dark, ones = form["slices"][:2]
        assert (dark["name"], ones["name"]) == ("dark", "ones") and not dark["found"] and dark["p_value"] is None
        assert dark["rows"] == (test.features["image_stats"][:, 0] < np.float32(0.3)).sum() > 0
        assert ones["rows"] == np.isin(test.labels, (1, 7)).sum()
        assert [each["name"] for each in form["slices"]] == [each["name"] for each in plain["slices"]]
        assert all(each["found"] and each["rows"] >= 15 and 0 <= each["p_value"] <= 1 for each in form["slices"][2:])
        assert list(form["robustness"]) == ["undisturbed", "blur", "fgsm"]
        assert {each["rows"] for each in form["robustness"].values()} == {20}
        assert form["footprint"] == {"size_mib": 4}, "of 32 rows"
        for where in (form, *form["slices"], *form["robustness"].values()):
            low, high = where["intervals"]["accuracy"]
            assert low <= where["metrics"]["accuracy"] <= high
    assert (
        plain["robustness"]["fgsm"]["metrics"]["log_loss"] > plain["robustness"]["undisturbed"]["metrics"]["log_loss"]
    )
    low, high = other["against"]["plain"]["log_loss"]
    assert low <= other["metrics"]["log_loss"] - plain["metrics"]["log_loss"] <= high


def test_a_champion_is_measured_from_the_images_bytes_by_class_name(case: Case) -> None:
    first = case.crown("good", "a")
    straight = case.evaluate().metrics["champion"]
    second = case.crown("good", "b", classes="9876543210")
    turned = case.evaluate().metrics["champion"]
    assert (straight["version"], turned["version"]) == (first.version, second.version)
    assert straight["accuracy"] > 0.8
    assert straight | {"version": 0} == pytest.approx(turned | {"version": 0}, abs=1e-5)


def test_a_champion_is_met_on_the_same_slices_and_under_the_same_tests(case: Case) -> None:
    case.crown("ignorant", "a")
    report = case.evaluate().metrics
    plain, champion = report["forms"]["plain"], report["champion_measured"]
    assert champion["metrics"]["accuracy"] == report["champion"]["accuracy"]
    assert [each["rows"] for each in champion["slices"]] == [each["rows"] for each in plain["slices"]]
    assert champion["robustness"].keys() == plain["robustness"].keys() and champion["footprint"].keys()
    assert report["against"]["champion"] == plain["against"]["champion"]
    for where in (report["against"]["champion"], plain["slices"][0]["against_champion"]):
        assert where["accuracy"][0] > 0.5 and where["log_loss"][1] < -1
    # The attack is made for the candidate: the champion, which looks at nothing, does not mind.
    assert champion["robustness"]["fgsm"]["metrics"] == champion["robustness"]["undisturbed"]["metrics"]


def test_an_ignorant_champion_is_a_poor_one(case: Case) -> None:
    case.crown("ignorant", "a")
    report = case.evaluate().metrics
    assert report["champion"]["accuracy"] < 0.3 < report["candidate"]["accuracy"]
    assert report["champion"]["log_loss"] == pytest.approx(np.log(10), abs=1e-4)


def test_another_champion_is_another_question(case: Case) -> None:
    case.crown("ignorant", "a")
    first = case.evaluate()
    case.crown("good", "b")
    second = case.evaluate()
    assert first.key != second.key
    assert "champion" in second.because


@pytest.mark.parametrize("had_champion", [False, True], ids=["the first champion", "a later champion"])
def test_asked_again_after_the_candidate_became_champion_it_is_a_hit(case: Case, had_champion: bool) -> None:
    against = case.crown("good", "earlier").version if had_champion else None
    before = case.evaluate()
    case.crown("ignorant", case.train.key, judged_against=against)
    after = case.evaluate()
    assert after.cache == "HIT"
    assert after.key == before.key


@pytest.mark.filterwarnings("error")
def test_the_baseline_converges_and_knows_classes_it_never_saw(case: Case) -> None:
    folder = case.platform.store.fetch(case.data["dataset"][0].folder)
    train, test = (read_split(folder, name) for name in ("train", "test"))
    zeros = [np.zeros((len(split), 1), np.float32) for split in (train, test)]
    found = logistic_regression(train, zeros[0], test, zeros[1], Layout.plain(1), classes=11)
    assert found.shape == (80, 11)
    assert (found[:, 10] == 0).all()
    assert np.allclose(found.sum(axis=1), 1)


def test_classes_are_matched_by_name() -> None:
    found = np.array([[0.1, 0.2, 0.7]])
    assert in_our_order(found, ("c", "a", "b"), ("a", "b", "c")).tolist() == [[0.2, 0.7, 0.1]]
    assert in_our_order(found, ("c", "a", "b"), ("a", "new")).tolist() == [[0.2, 0.0]]


def test_a_diverged_candidate_is_named_as_such() -> None:
    found = np.array([[0.5, 0.5], [np.nan, 0.5], [np.nan, np.nan], [0.5, np.inf]])
    with pytest.raises(StageFailed, match="3 of 4 test rows"):
        check_finite(found)
    with pytest.raises(StageFailed, match="1 of 2 test rows"):
        check_finite(np.array([1, np.inf]))


def test_a_champion_of_rows_is_measured_from_their_values(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table's whole evaluation: the candidate, the baseline, and a champion that knows no column ``new``."""
    platform = open_platform()
    spec = replace(packages.project("people"), {**QUICK, "evaluation.explain": True})
    version = packages.register(platform.registry, platform.store, "first", name="people")
    platform.registry.move_alias("people", "champion", version.version, expected=None, who="test", why="test")
    where = {"store": platform.store, "registry": platform.registry}
    dataset = execute(_people, spec, {}, **where)
    inputs = {"dataset": [dataset], "transform": [execute(_ages, spec, {"dataset": [dataset]}, **where)]}
    inputs["train"] = [execute(train_stage, spec, inputs, **where)]
    inputs["export"] = [execute(_people_export, spec, inputs, **where)]
    report = platform.run("tasks.evaluation.evaluate:evaluate", spec, **inputs).metrics
    assert report["rows"] == 60
    assert report["champion"]["accuracy"] == 1, "brightness is age above 50, and so the champion says"
    assert report["candidate"]["accuracy"] > 0.8 and report["baseline"]["accuracy"] > 0.8
    plain = report["forms"]["plain"]
    assert list(plain["robustness"]) == ["undisturbed", "missing_values", "category_shift"]
    for measured in (plain, report["champion_measured"]):
        assert measured["footprint"].keys() == {"latency_ms", "batch_latency_ms", "size_mib", "memory_mib"}


@stage("export", "classes", "source", reproducible=False)
def _people_export(ctx: Context) -> Outcome:
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    return Outcome(
        metrics={
            "forms": {
                "plain": exports.write_form(
                    ctx.out, ctx.spec, model, lambda raw: (raw[:, :1] - 50) / 10, {"numeric": 2}
                )
            }
        }
    )


@stage("dataset", "classes")
def _people(ctx: Context) -> Outcome:
    for seed, (name, count) in enumerate({"train": 200, "validation": 40, "test": 60}.items()):
        rows = packages.people(count, seed)
        labels = np.array([row["age"] > 50 for row in rows], np.int32)
        ages = np.array([[row["age"], np.nan] for row in rows], np.float32)
        names, times = [str(row) for row in range(count)], [datetime(2026, 1, 1, tzinfo=UTC)] * count
        sent = [json.dumps({**row, "new": "column"}) for row in rows]
        write_split(ctx.out, name, pack(None, {"numeric": ages}, labels, names, names, times, rows=sent))
    return Outcome()


@stage("transform", "classes")
def _ages(ctx: Context) -> Outcome:
    for name in SPLITS:
        ages = read_split(ctx.store.fetch(ctx.input("dataset").folder), name).features["numeric"][:, :1]
        np.save(ctx.out / f"{name}.npy", (ages - 50) / 10)
    (ctx.out / "transform.json").write_text(json.dumps({"slices": Layout.plain(1).as_json()}))
    return Outcome()
