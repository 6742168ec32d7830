"""The digits that land: all real ones, in daily drops, with known faults, the same bytes every time."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tasks.core.artifacts import Manifest
from tasks.core.config import load_project, replace
from tasks.core.errors import BadInput
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import execute, load_stage
from tasks.core.store import open_store
from tasks.data.samples import DIRT, land
from tasks.data.source import digest_folder, partitions


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """The digits, landed once for the tests that only look."""
    folder = tmp_path_factory.mktemp("landing") / "digits"
    spec = load_project("digits", {"source.uri": str(folder)})
    assert land(spec) == folder
    return spec, folder


def labels(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_real_digit_lands_once_with_its_own_pixels_and_label(landed: tuple[Project, Path]) -> None:
    _, folder = landed
    digits, seen = load_digits(), set()
    for drop in folder.iterdir():
        for row in labels(drop):
            number = row["digit_id"].removeprefix("digit-")
            if number.isdigit() and row["digit_id"] not in seen:
                seen.add(row["digit_id"])
                assert row["label"] == str(digits.target[int(number)])
                pixels = np.asarray(Image.open(drop / row["image"]))
                assert np.array_equal(np.rint(pixels * (16 / 255)), digits.images[int(number)])
    assert len(seen) == 1797


def test_drops_are_daily_alike_in_size_and_classes(landed: tuple[Project, Path]) -> None:
    spec, folder = landed
    days = partitions(spec)
    assert days == [f"2026-01-0{day}" for day in range(1, 9)]
    for day in days:
        rows = labels(folder / f"date={day}")
        assert 224 <= len(rows) <= 228
        assert all(row["event_time"].startswith(day) for row in rows)
        counts = Counter(row["label"] for row in rows)
        assert all(counts[label] >= 10 for label in spec.classes)


def test_the_dirt_is_what_it_says(landed: tuple[Project, Path]) -> None:
    _, folder = landed
    rows = [row | {"drop": drop} for drop in folder.iterdir() for row in labels(drop)]
    files = Counter(f"{row['drop']}/{row['image']}" for row in rows)
    found = Counter(
        truncated=sum("truncated" in row["digit_id"] for row in rows),
        unknown_label=sum(row["label"] == "?" for row in rows),
        repeated=sum(count - 1 for count in files.values()),
        missing=sum(not Path(path).is_file() for path in files),
    )
    assert found == Counter(kind for kinds in DIRT.values() for kind in kinds)
    assert found.total() == 8


def test_the_gate_finds_the_dirt_and_nothing_else(landed: tuple[Project, Path], home: Path) -> None:
    spec, _ = landed
    store, registry = open_store(settings().store_uri), Registry(settings().registry_url)
    manifests: dict[str, list[Manifest]] = {}
    for name in ("ingest", "validate"):
        stage = load_stage(f"tasks.data.{name}:{name}")
        manifest = execute(stage, spec, manifests, store=store, registry=registry, partition="2026-01-07")
        manifests = {name: [manifest]}
    registry.close()
    assert dict(manifest.reasons) == {"unknown_label": 1, "duplicate_image": 1, "missing_file": 1}
    assert (manifest.rows.received, manifest.rows.published) == (227, 224)


def test_landing_is_deterministic_and_happens_once(landed: tuple[Project, Path], tmp_path: Path) -> None:
    spec, folder = landed
    again = replace(spec, {"source.uri": str(tmp_path / "again")})
    assert land(again) == tmp_path / "again"
    assert digest_folder(tmp_path / "again") == digest_folder(folder)
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


def test_a_place_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        land(load_project("digits", {"source.uri": str(tmp_path / "file" / "digits")}))
