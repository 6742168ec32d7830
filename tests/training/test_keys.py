"""A change of what is trained, or how, is a change of the stages' keys, whichever way the code is reached."""

import shutil
from pathlib import Path

import pytest

from tasks.core import code, stages
from tasks.core.settings import ROOT
from tests.stages import load_stage

tune, train = load_stage("tasks.training.tune:tune"), load_stage("tasks.training.train:train")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code that code versions are made from, each time anew."""
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "code_version", code.code_version.__wrapped__)
    return tmp_path


@pytest.mark.parametrize(
    "changed", ["models/convnet.py", "models/mlp.py", "models/blocks.py", "training/loop.py", "training/distributed.py"]
)
@pytest.mark.parametrize("stage", [tune, train], ids=["tune", "train"])
def test_code_that_makes_the_model_is_part_of_the_key(checkout: Path, stage: stages.Stage, changed: str) -> None:
    before = stage.code_version
    assert stage.code_version == before
    file = checkout / "tasks" / changed
    file.write_text(file.read_text(encoding="utf-8") + "\nCHANGED = True\n", encoding="utf-8")
    assert stage.code_version != before


def test_code_of_other_planes_is_not(checkout: Path) -> None:
    before = tune.code_version
    file = checkout / "tasks" / "evaluation" / "metrics.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nCHANGED = True\n", encoding="utf-8")
    assert tune.code_version == before
