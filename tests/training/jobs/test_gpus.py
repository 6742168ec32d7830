"""Which GPU a rank is given: a function of what there is and of the rank's place on its host."""

from pathlib import Path

import pytest

from tasks.training.jobs.gpus import devices, pinned


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """A ``/dev`` with four GPUs and what else NVIDIA's driver puts there."""
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, ["0", "1", "2", "3"]),
        ("2,3", ["2", "3"]),
        ("GPU-5f1c, GPU-77aa", ["GPU-5f1c", "GPU-77aa"]),
        ("1,-1,2", ["1"]),
        ("", []),
        ("-1", []),
    ],
)
def test_what_is_visible_is_what_cuda_would_see(four: Path, visible: str | None, found: list[str]) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert devices(environment, four) == found


def test_each_local_rank_has_a_gpu_of_its_own_until_they_run_out() -> None:
    assert [pinned(["2", "5"], rank)["CUDA_VISIBLE_DEVICES"] for rank in range(3)] == ["2", "5", "2"]


def test_without_a_gpu_nothing_is_pinned(tmp_path: Path) -> None:
    assert pinned(devices({}, tmp_path), 0) == {}
