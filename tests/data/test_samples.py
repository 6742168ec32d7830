"""The samples that land: real data in daily drops, with known faults, the same bytes every time."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from tasks.core.artifacts import Manifest, digest_file
from tasks.core.config import load_project, replace
from tasks.core.errors import BadInput
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import execute
from tasks.core.store import open_store
from tasks.data import sample_diabetes, sample_digits, sample_docstrings, sample_tumours
from tasks.data.samples import land
from tasks.data.source import partitions
from tests.stages import load_stage

Landed = Mapping[str, tuple[Project, Path]]
SAMPLES = ("diabetes", "digits", "docstrings", "tumours")


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Landed:
    """Every sample, landed once for the tests that only look."""
    folder, found = tmp_path_factory.mktemp("landing"), {}
    for name in SAMPLES:
        spec = load_project(name, {"source.uri": str(folder / name)})
        assert land(spec) == folder / name
        found[name] = (spec, folder / name)
    return found


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(folder: Path) -> list[str]:
    files = sorted(folder.glob("*/docstrings.jsonl"))
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest_file(path) for path in folder.rglob("*") if path.is_file()}


def test_every_real_digit_lands_once_with_its_own_pixels_and_label(landed: Landed) -> None:
    digits, seen = load_digits(), set()
    for drop in landed["digits"][1].iterdir():
        for row in table(drop / "labels.csv"):
            number = row["digit_id"].removeprefix("digit-")
            if number.isdigit() and row["digit_id"] not in seen:
                seen.add(row["digit_id"])
                assert row["label"] == str(digits.target[int(number)])
                pixels = np.asarray(Image.open(drop / row["image"]))
                assert np.array_equal(np.rint(pixels * (16 / 255)), digits.images[int(number)])
    assert len(seen) == 1797


def test_every_real_tumour_lands_with_its_own_numbers_and_diagnosis(landed: Landed) -> None:
    data, seen = load_breast_cancer(), {}
    for drop in sorted(landed["tumours"][1].iterdir()):
        for row in table(drop / "masses.csv"):
            seen.setdefault(row["sample_id"], row)
    for number in range(len(data.target)):
        row = seen[f"tumour-{number:03d}"]
        assert row["diagnosis"] == data.target_names[data.target[number]]
        assert [float(row[name]) for name in data.feature_names] == data.data[number].tolist()


def test_every_real_patient_lands_with_the_own_numbers_and_progression(landed: Landed) -> None:
    data, seen = load_diabetes(scaled=False), {}
    for drop in sorted(landed["diabetes"][1].iterdir()):
        for row in table(drop / "patients.csv"):
            seen.setdefault(row["patient"], row)
    for number, progression in enumerate(data.target):
        row = seen[f"patient-{number:03d}"]
        assert float(row["progression"]) == progression
        assert [float(row[name]) for name in sample_diabetes.HEADER[3:]] == data.data[number].tolist()


def test_docstrings_are_those_of_the_source_files(landed: Landed) -> None:
    rows = [json.loads(line) for line in lines(landed["docstrings"][1]) if line.endswith("}")]
    real = [row for row in rows if row["id"].endswith(".py:478")]
    assert real
    for row in real:
        name = row["id"].removesuffix(":478")
        code = (Path(np.__file__).parents[1] / name).read_text(encoding="utf-8")
        assert row["text"][:200] in " ".join(code.split())
        assert sample_docstrings.LIBRARIES[row["library"]] == name.partition("/")[0]


def test_docstrings_are_as_many_of_each_library_and_none_stands_twice(landed: Landed) -> None:
    rows = [json.loads(line) for line in lines(landed["docstrings"][1]) if line.endswith("}")]
    rows = [row for row in rows if row["id"].count(":") == 1]
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == 3_000
    counts = Counter(row["library"] for row in {row["id"]: row for row in rows}.values())
    assert set(counts) == set(sample_docstrings.LIBRARIES)
    assert set(counts.values()) == {sample_docstrings.PER_LIBRARY}
    assert all(40 <= len(row["text"]) <= 600 for row in rows)


@pytest.mark.parametrize(("name", "days"), [("diabetes", 4), ("digits", 8), ("docstrings", 6), ("tumours", 5)])
def test_drops_are_daily_and_alike_in_size(landed: Landed, name: str, days: int) -> None:
    spec, folder = landed[name]
    found = partitions(spec)
    assert found == [f"2026-01-{day:02}" for day in range(1, days + 1)]
    sizes = [sum(file.stat().st_size for file in (folder / f"date={day}").glob("*.*")) for day in found]
    assert max(sizes) < 1.1 * min(sizes)


def quarantined(spec: Project) -> Counter[str]:
    """What the gate finds in all partitions of the spec, by reason."""
    store, registry = open_store(settings().store_uri), Registry(settings().registry_url)
    reasons: Counter[str] = Counter()
    for partition in partitions(spec):
        manifests: dict[str, list[Manifest]] = {}
        for name in ("ingest", "validate"):
            stage = load_stage(f"tasks.data.{name}:{name}")
            manifest = execute(stage, spec, manifests, store=store, registry=registry, partition=partition)
            manifests = {name: [manifest]}
        reasons.update(manifest.reasons)
    registry.close()
    return reasons


REASONS = {
    "diabetes": {
        "label_in_words": "bad_label",
        "repeated": "duplicate_row",
        "null_label": "null_label",
        "label_out_of_range": "label_out_of_range",
        "endless_label": "bad_label",
        "wrong_type": "wrong_type",
        "null_number": "null_age",
        "short_row": "malformed_row",
    },
    "digits": {
        "truncated": "truncated_image",
        "unknown_label": "unknown_label",
        "repeated": "duplicate_image",
        "missing": "missing_file",
    },
    "docstrings": {
        "null_text": "null_text",
        "cut_line": "malformed_row",
        "unknown_label": "unknown_label",
        "repeated": "duplicate_row",
        "wrong_type": "wrong_type",
        "bad_event_time": "bad_event_time",
        "too_short": "text_length",
        "null_label": "null_label",
    },
    "tumours": {
        "wrong_type": "wrong_type",
        "null_label": "null_label",
        "out_of_range": "mean_radius_out_of_range",
        "repeated": "duplicate_row",
        "unknown_label": "unknown_label",
        "short_row": "malformed_row",
        "bad_event_time": "bad_event_time",
        "null_number": "null_mean radius",
        "measured_twice": "duplicate_entity",
    },
}
DIRT = {
    "diabetes": sample_diabetes.DIRT,
    "digits": sample_digits.DIRT,
    "docstrings": sample_docstrings.DIRT,
    "tumours": sample_tumours.DIRT,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_the_gate_finds_the_dirt_and_nothing_else(landed: Landed, home: Path, name: str) -> None:
    expected = Counter(REASONS[name][kind] for kinds in DIRT[name].values() for kind in kinds)
    assert quarantined(landed[name][0]) == expected


@pytest.mark.parametrize("name", SAMPLES)
def test_landing_is_deterministic_and_happens_once(landed: Landed, tmp_path: Path, name: str) -> None:
    spec, folder = landed[name]
    again = replace(spec, {"source.uri": str(tmp_path / "again")})
    assert land(again) == tmp_path / "again"
    assert digests(tmp_path / "again") == digests(folder)
    assert land(again) is None
    assert list(tmp_path.iterdir()) == [tmp_path / "again"]


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    assert land(load_project("digits", {"source.uri": str(tmp_path)})) is None
    assert list(tmp_path.iterdir()) == []


def test_without_a_sample_nothing_lands(tmp_path: Path) -> None:
    assert land(load_project("digits", {"source.uri": str(tmp_path / "x"), "source.sample": None})) is None
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_sample_is_bad_input(tmp_path: Path) -> None:
    spec = load_project("digits", {"source.uri": str(tmp_path / "x"), "source.sample": "letters"})
    with pytest.raises(BadInput, match="no sample 'letters'") as caught:
        land(spec)
    assert "digits" in caught.value.fix


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_docstrings, "LIBRARIES", {"nowhere": "not_installed_anywhere"})
    with pytest.raises(BadInput, match="not_installed_anywhere"):
        land(load_project("docstrings", {"source.uri": str(tmp_path / "x")}))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        land(load_project("digits", {"source.uri": str(tmp_path / "file" / "digits")}))


def test_a_sample_does_not_land_on_s3() -> None:
    with pytest.raises(BadInput, match="s3://bucket/digits"):
        land(load_project("digits", {"source.uri": "s3://bucket/digits"}))
