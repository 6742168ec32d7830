"""A version as one file: whole in another installation, or refused."""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.core.artifacts import digest_json
from tasks.core.errors import BadInput
from tasks.core.lineage import faults, lineage
from tasks.core.registry import Registry, Version
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tasks.deployment.transfer import Moved, export_version, import_version
from tests.packages import write_project
from tests.versions import make_version


@dataclass(frozen=True)
class Installation:
    """A store and a registry of their own."""

    store: LocalStore
    registry: Registry

    def import_(self, file: Path) -> Moved:
        return import_version(self.registry, self.store, file, who="bob")

    def files(self) -> dict[str, bytes]:
        return {path: self.store.read_bytes(path) for path in self.store.list("tiny")}

    def is_empty(self) -> bool:
        return not self.files() and not self.registry.versions("tiny") and not self.registry.audit_log()


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    write_project(tmp_path / "projects")
    monkeypatch.setenv("UPDRAFT_PROJECTS", str(tmp_path / "projects"))
    settings.cache_clear()
    yield from _installation(tmp_path / "here")


@pytest.fixture
def there(here: Installation, tmp_path: Path) -> Iterator[Installation]:
    yield from _installation(tmp_path / "there")


def _installation(folder: Path) -> Iterator[Installation]:
    registry = Registry(f"sqlite:///{folder / 'registry.db'}")
    yield Installation(LocalStore(folder / "store"), registry)
    registry.close()


@pytest.fixture
def exported(here: Installation, tmp_path: Path) -> tuple[Version, Path]:
    """A version, and its file."""
    version = make_version(here.registry, here.store)
    export_version(here.registry, here.store, version, tmp_path / "tiny.zip", who="ana")
    return version, tmp_path / "tiny.zip"


def test_it_arrives_whole_under_another_number_and_becomes_no_champion(
    here: Installation, there: Installation, exported: tuple[Version, Path]
) -> None:
    version, file = exported
    there.registry.register("tiny", "own", "tiny/package/own/manifest.json", {})
    there.registry.move_alias("tiny", "champion", 1, expected=None, who="bob", why="")
    moved = there.import_(file)
    arrived = there.registry.version("tiny", 2)
    assert (moved.version, moved.origin, moved.is_new) == (arrived, 1, True)
    assert (arrived.key, arrived.package) == (version.key, version.package)
    assert there.registry.aliases("tiny") == {"champion": 1}
    theirs, ours = there.files(), here.files()
    carried = [path for path in ours if path.startswith(("tiny/package/", "tiny/card/"))]
    assert len(carried) == 5
    assert all(theirs[path] == ours[path] for path in carried)
    found = lineage(there.store, arrived.package)
    assert (found, list(faults(found))) == (lineage(here.store, version.package), [])


def test_the_numbers_of_versions_elsewhere_are_not_taken_for_ours(
    there: Installation, exported: tuple[Version, Path]
) -> None:
    version, file = exported
    details = there.import_(file).version.details
    assert version.details["judged_against"] == 7
    assert details["judged_against"] is None
    assert (details["imported"]["version"], details["imported"]["judged_against"]) == (1, 7)
    assert {**details, "imported": None, "judged_against": 7} == {**version.details, "imported": None}


def test_both_audit_logs_name_the_same_digest(
    here: Installation, there: Installation, exported: tuple[Version, Path]
) -> None:
    digest = there.import_(exported[1]).digest
    sent, came = here.registry.audit_log("tiny")[-1], there.registry.audit_log("tiny")[-1]
    assert (sent["action"], sent["who"], sent["details"]["digest"]) == ("export", "ana", digest)
    assert (came["action"], came["who"]) == ("register", "bob")
    assert digest[:12] in came["details"]["why"]


def test_what_came_before_is_not_registered_twice(there: Installation, exported: tuple[Version, Path]) -> None:
    first, again = there.import_(exported[1]), there.import_(exported[1])
    assert (again.version, again.is_new) == (first.version, False)
    assert len(there.registry.audit_log("tiny")) == 1


def test_it_goes_on_from_where_it_came_to(there: Installation, exported: tuple[Version, Path], tmp_path: Path) -> None:
    version = there.import_(exported[1]).version
    export_version(there.registry, there.store, version, tmp_path / "again.zip", who="bob")
    third = next(installation := _installation(tmp_path / "third"))
    assert third.import_(tmp_path / "again.zip").version.key == version.key
    assert len(lineage(third.store, version.package)) == 8
    next(installation, None)


@pytest.mark.parametrize("at", [0.0, 0.05, 0.3, 0.5, 0.7, 0.9, 0.98])
def test_a_damaged_file_is_refused_and_leaves_nothing(
    there: Installation, exported: tuple[Version, Path], at: float
) -> None:
    file = exported[1]
    data = bytearray(file.read_bytes())
    data[int(at * len(data))] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(BadInput, match=r"tiny\.zip"):
        there.import_(file)
    assert there.is_empty()


def rewrite(file: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """A file that somebody changed on purpose: every checksum of ZIP is right."""
    with zipfile.ZipFile(file) as before:
        entries = {name: before.read(name) for name in before.namelist()}
    change(entries)
    with zipfile.ZipFile(file, "w") as after:
        for name, data in entries.items():
            after.writestr(name, data)


def told(entries: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> None:
    """Changes ``version.json``, its own digest included."""
    values = json.loads(entries["version.json"])
    del values["digest"]
    change(values)
    entries["version.json"] = json.dumps(values | {"digest": digest_json(values)}).encode()


def better(entries: dict[str, bytes]) -> None:
    entries["version.json"] = entries["version.json"].replace(b"0.9", b"1.0")


def other_model(entries: dict[str, bytes]) -> None:
    (name,) = (name for name in entries if name.endswith("model.onnx"))
    entries[name] = b"another model"


def no_model(entries: dict[str, bytes]) -> None:
    (name,) = (name for name in entries if name.endswith("model.onnx"))
    del entries[name]


def other_data(entries: dict[str, bytes]) -> None:
    def change(values: dict[str, Any]) -> None:
        values["lineage"][0]["parts"]["outside"]["source"] = "raw of another day"

    told(entries, change)


def way_out(entries: dict[str, bytes]) -> None:
    def change(values: dict[str, Any]) -> None:
        package = next(each for each in values["lineage"] if each["stage"] == "package")
        package["outputs"] = {"../../../escaped": next(iter(package["outputs"].values()))}

    told(entries, change)


def newer(entries: dict[str, bytes]) -> None:
    told(entries, lambda values: values.update(format=99))


def unknown(entries: dict[str, bytes]) -> None:
    told(entries, lambda values: values.update(project="nobody"))


@pytest.mark.parametrize("change", [better, other_model, no_model, other_data, way_out, newer, unknown])
def test_a_file_that_was_changed_is_refused_and_leaves_nothing(
    there: Installation, exported: tuple[Version, Path], tmp_path: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    rewrite(exported[1], change)
    with pytest.raises(BadInput):
        there.import_(exported[1])
    assert there.is_empty()
    assert not list(tmp_path.rglob("escaped"))


def test_a_file_that_is_rewritten_without_a_change_is_taken(
    there: Installation, exported: tuple[Version, Path]
) -> None:
    rewrite(exported[1], lambda entries: told(entries, lambda values: None))
    assert there.import_(exported[1]).is_new


def test_a_version_that_is_not_whole_is_not_exported(here: Installation, tmp_path: Path) -> None:
    version = make_version(here.registry, here.store)
    with pytest.raises(BadInput, match="cannot be written"):
        export_version(here.registry, here.store, version, tmp_path / "no" / "folder.zip", who="ana")
    model = here.store.root / version.package.replace("manifest.json", "graph/model.onnx")
    whole = model.read_bytes()
    model.write_bytes(b"damaged")
    with pytest.raises(BadInput, match=r"model\.onnx is damaged"):
        export_version(here.registry, here.store, version, tmp_path / "a.zip", who="ana")
    model.write_bytes(whole)
    export_version(here.registry, here.store, version, tmp_path / "a.zip", who="ana")
    with pytest.raises(BadInput, match="already"):
        export_version(here.registry, here.store, version, tmp_path / "a.zip", who="ana")
    assert [path.name for path in tmp_path.glob("*.zip*")] == ["a.zip"]
