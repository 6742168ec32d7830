"""What differs between two versions."""

from pathlib import Path

from tasks.core.lineage import lineage
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.store import LocalStore
from tasks.deployment.compare import differences
from tests.versions import make_version


def test_each_aspect_holds_what_differs_and_no_more(home: Path) -> None:
    registry, store = Registry(settings().registry_url), LocalStore(Path(settings().store_uri))
    one = make_version(registry, store, days=2, accuracy=0.8)
    changes = {"training.epochs": 9, "features": [{"kind": "image_stats"}, {"kind": "hog"}]}
    other = make_version(registry, store, days=3, accuracy=0.9, rate=0.2, overrides=changes)
    found = differences(one, lineage(store, one.package), other, lineage(store, other.package))
    registry.close()
    assert found["versions"] == [1, 2]
    assert found["metrics"]["accuracy"]["values"] == [0.8, 0.9]
    assert found["metrics"]["accuracy"]["intervals"] == [[0.8 - 0.05, 0.8 + 0.05], [0.9 - 0.05, 0.9 + 0.05]]
    assert [gates[0]["value"] for gates in found["gates"]] == [0.8, 0.9]
    assert found["params"] == {"training.learning_rate": [0.05, 0.1]}
    assert list(found["spec"]) == ["training.epochs"]
    assert found["spec"]["training.epochs"][1] == 9
    assert found["features"]["features.1.kind"] == [None, "hog"]
    assert set(found["data"]) == {"dataset", "ingest 2026-01-03"}
    assert found["rows"] == {"dataset train": [120, 180]}
    assert found["code"] == found["libraries"] == {}
    assert found["package"]["key"] == [one.key, other.key]


def test_a_version_of_before_there_were_forms_has_its_metrics(home: Path) -> None:
    registry = Registry(settings().registry_url)
    details = {"metrics": {"candidate": {"accuracy": 0.7}}, "gates": {"gates": []}}
    old = registry.register("tiny", "old", "tiny/package/old/manifest.json", details)
    registry.close()
    assert old.measured == {"metrics": {"accuracy": 0.7}, "intervals": {}}
    assert differences(old, [], old, [])["libraries"] == {}
