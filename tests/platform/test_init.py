"""`updraft init`: it writes a project that loads, with its suite and Feast's objects, and overwrites nothing."""

import csv
import importlib.util
import io
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, example, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from PIL import Image

from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.settings import ROOT, settings
from tasks.platform.init import init_project, spec_yaml

ROWS = [{"flower id": n, "größe": n / 7, "colour": "rb"[n % 2], "label": ("ja", "no", "1e5")[n % 3]} for n in range(90)]


@pytest.fixture
def projects(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of projects."""
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path / "checkout" / "projects"))
    settings.cache_clear()
    yield tmp_path / "checkout" / "projects"
    settings.cache_clear()


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path.parent


def test_the_project_that_is_written_loads(projects: Path, tmp_path: Path) -> None:
    made = init_project("flowers", str(write(tmp_path / "Blümchen & co" / "data.csv")))
    assert made.next == "updraft run flowers"
    assert [path.relative_to(projects.parent).as_posix() for path in made.files] == [
        "projects/flowers.yaml",
        "projects/flowers.expectations.json",
        "feature_repo/flowers/flowers_features.py",
    ]
    spec = load_project("flowers")
    assert spec.classes == ("1e5", "ja", "no")
    assert [column.name for column in spec.source.columns] == ["größe", "colour"]
    assert spec.source.location == str(tmp_path / "Blümchen & co")
    suite = json.loads((projects / "flowers.expectations.json").read_text())
    assert len(suite["expectations"]) == len(spec.validation.expectations) == 2
    assert "größe" in made.files[0].read_text(encoding="utf-8")


def test_a_source_under_home_has_a_relative_address(projects: Path, home: Path) -> None:
    write(home / "landing" / "flowers" / "data.csv")
    init_project("flowers", str(home / "landing" / "flowers"))
    assert load_project("flowers").source.uri == "landing/flowers"


def test_images_make_a_project_too(projects: Path, tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").rotate(40 * number).resize((40, 30)).save(folder / f"{number}.png")
    init_project("pictures", str(tmp_path / "pictures"))
    spec = load_project("pictures")
    assert spec.image is not None
    assert spec.image.shape == (30, 40, 1)


def test_nothing_is_overwritten_unless_forced(projects: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "flowers" / "data.csv")
    spec, suite, _ = init_project("flowers", str(source)).files
    written = spec.read_text()
    suite.write_text("mine")
    with pytest.raises(BadInput, match=r"flowers\.expectations\.json.*there already") as caught:
        init_project("flowers", str(source))
    assert "--force" in caught.value.fix
    assert (spec.read_text(), suite.read_text()) == (written, "mine")
    init_project("flowers", str(source), force=True)
    assert suite.read_text() != "mine"


def test_when_nothing_can_be_learned_nothing_is_written(projects: Path, tmp_path: Path) -> None:
    write(tmp_path / "t" / "t.csv", [{"a": n, "b": n} for n in range(50)])
    with pytest.raises(BadInput, match="which column holds the label"):
        init_project("flowers", str(tmp_path / "t"))
    assert not projects.exists()
    assert init_project("flowers", str(write(tmp_path / "u" / "u.csv")), label="colour").files[0].exists()


@pytest.mark.parametrize("name", ["Flowers", "1a", "a-b", "", "a/b", "../a", "a" * 41])
def test_a_name_that_cannot_be_used_is_refused(projects: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be the name of a project"):
        init_project(name, str(tmp_path))


def test_a_place_that_cannot_be_written_is_named(projects: Path, tmp_path: Path) -> None:
    projects.parent.write_text("a file where a folder should be")
    with pytest.raises(BadInput, match="cannot be written"):
        init_project("flowers", str(write(tmp_path / "flowers" / "data.csv")))


@pytest.mark.slow
def test_feast_finds_the_projects_objects(projects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feast.repo_operations import parse_repo

    features = init_project("flowers", str(write(tmp_path / "flowers" / "data.csv"))).files[2]
    # As Feast's command line does.
    monkeypatch.chdir(features.parent)
    monkeypatch.syspath_prepend(str(features.parent))
    found = parse_repo(features.parent)
    assert [view.name for view in found.feature_views]
    assert [entity.name for entity in found.entities if entity.name != "__dummy"] == ["entity"]
    assert [service.name for service in found.feature_services] == ["flowers_features"]


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "projects").glob("*.yaml")])
def test_every_shipped_project_has_its_feast_definitions(name: str) -> None:
    path = ROOT / "feature_repo" / name / f"{name}_features.py"
    assert f'load_project("{name}")' in path.read_text()
    assert importlib.util.spec_from_file_location(path.stem, path)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.sampled_from(["", "a", "b", "0", "1", "yes", "no", "2026-01-01", "2026-01-01T00:00:00Z", "a few words of text"]),
    st.text(max_size=12),
)
NAMES = st.sampled_from(["label", "id", "x", "event_time", "known_at", "width", "größe", "a b", ": {", "#", "'", "yes"])


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of a small table with a label; a column draws from few values."""
    several = st.lists(VALUES, min_size=3, max_size=6, unique_by=str)
    names = draw(st.lists(NAMES | st.text(max_size=4), min_size=2, max_size=6, unique=True))
    pools = {name: draw(several) for name in names} | {"label": draw(several)}
    order = draw(st.permutations(range(24)))
    return [
        {name: pool[(number * at) % len(pool)] for at, (name, pool) in enumerate(pools.items(), 1)} for number in order
    ]


@example_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=tables())
def test_any_table_gives_a_project_that_loads_or_says_why_not(
    projects: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    source = tmp_path / "any"
    source.mkdir(exist_ok=True)
    (source / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    written = projects / "anything.yaml"
    written.unlink(missing_ok=True)
    try:
        init_project("anything", str(source), force=True)
    except BadInput as error:
        event("refused")
        assert error.fix
        assert not written.exists()
    else:
        spec = load_project("anything")
        assert len(spec.classes) >= 2
        assert {column.name for column in spec.source.columns} <= rows[0].keys() - {"label"}


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=60), st.dates(date(1, 1, 1))),
        lambda inner: st.one_of(
            st.lists(inner, max_size=12),
            st.dictionaries(st.from_regex("[a-z]{1,12}", fullmatch=True), inner, max_size=6),
        ),
        max_leaves=20,
    ),
    st.text(max_size=200),
)
@example([{"a": 1}, ["a long text"] * 12], "")  # mappings and others in one list, too long for a line
@example([{"a": "x" * 120}, {}], "")
def test_what_is_written_is_what_is_read(value: Any, comment: str) -> None:
    text = spec_yaml({"field": value, "other": 1}, {"field": comment}, comment)
    assert yaml.safe_load(io.StringIO(text)) == {"field": value, "other": 1}
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) <= 120 if comment.strip() else True
