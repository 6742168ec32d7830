"""Lineage: from a package back to the raw data, each link provable."""

from pathlib import Path

from tasks.core.lineage import faults, keep, lineage, missing
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tests.versions import make_version


def made(home: Path) -> tuple[LocalStore, str]:
    registry, store = Registry(settings().registry_url), LocalStore(Path(settings().store_uri))
    package = make_version(registry, store).package
    registry.close()
    return store, package


def test_it_leads_from_the_package_to_the_raw_data(home: Path) -> None:
    store, package = made(home)
    found = lineage(store, package)
    assert [m.stage for m in found] == ["ingest", "ingest", "dataset", "tune", "train", "export", "gate", "package"]
    assert [m.parts["outside"]["source"] for m in found[:2]] == ["raw 2026-01-01", "raw 2026-01-02"]
    assert found[-1].path == package
    assert (missing(found), list(faults(found))) == ([], [])


def test_what_is_gone_is_named_and_the_rest_stays(home: Path) -> None:
    store, package = made(home)
    gone = next(m for m in lineage(store, package) if m.stage == "train")
    store.delete(gone.folder)
    left = lineage(store, package)
    assert [m.stage for m in left] == ["export", "gate", "package"]
    assert missing(left) == [gone.path]
    assert list(faults(left)) == []


def test_a_link_that_was_exchanged_is_found(home: Path) -> None:
    store, package = made(home)
    found = lineage(store, package)
    exchanged = [m.model_copy(update={"digest": "0" * 64}) if m.stage == "dataset" else m for m in found]
    assert [fault.partition(":")[0] for fault in faults(exchanged)] == [
        m.path for m in found if m.stage in ("tune", "train")
    ]
    other_data = {**found[0].parts, "outside": {"source": "other"}}
    rewritten = [found[0].model_copy(update={"parts": other_data}), *found[1:]]
    assert list(faults(rewritten)) == [f"{found[0].path}: its key is not that of its parts"]


def test_an_artifact_keeps_the_lineage_that_it_came_with(home: Path, tmp_path: Path) -> None:
    store, package = made(home)
    found = lineage(store, package)
    elsewhere = LocalStore(tmp_path / "elsewhere")
    keep(elsewhere, package, found)
    assert lineage(elsewhere, package) == found
