"""What a package costs, in a process of its own."""

from pathlib import Path

import pytest

from tasks.core.errors import StageFailed
from tasks.evaluation.footprint import footprint
from tasks.runtime.predictor import MODEL
from tests import packages


@pytest.mark.parametrize("name", ["tiny", "people"])
def test_a_package_is_measured(name: str, tmp_path: Path) -> None:
    packages.write_package(tmp_path, name=name)
    found = footprint(tmp_path, [packages.png(90)] if name == "tiny" else packages.people(3))
    assert set(found) == {"latency_ms", "batch_latency_ms", "size_mib", "memory_mib"}
    assert 0 < found["latency_ms"] < found["batch_latency_ms"]
    written = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert found["size_mib"] == pytest.approx(written / 2**20, abs=1e-4)
    assert 20 < found["memory_mib"] < 400, "the runtime, and no TensorFlow"


def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    packages.write_package(tmp_path)
    (tmp_path / MODEL).write_bytes(b"no graph")
    with pytest.raises(StageFailed, match=f"{tmp_path} could not be measured: .*cannot be loaded"):
        footprint(tmp_path, [packages.png(90)])
