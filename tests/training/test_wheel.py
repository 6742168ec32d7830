"""The recipe of Horovod's wheel: what its key depends on, and what it refuses before it starts."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

RECIPE = Path(__file__).parents[2] / "docker" / "horovod" / "build_wheel.py"


@pytest.fixture
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_wheel", RECIPE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_this_environment_runs_the_wheel_of_this_recipe(recipe: ModuleType) -> None:
    assert recipe.installed(recipe.wheel_key())


def test_a_changed_patch_or_flag_is_another_wheel(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = recipe.wheel_key()
    monkeypatch.setitem(recipe.FLAGS, "HOROVOD_WITHOUT_PYTORCH", "0")
    other_flag = recipe.wheel_key()
    monkeypatch.setattr(recipe, "PATCHES", recipe.PATCHES[:1])
    assert len({key, other_flag, recipe.wheel_key()}) == 3


def test_a_missing_compiler_is_named_before_anything_is_downloaded(tmp_path: Path) -> None:
    nowhere = {**os.environ, "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    nowhere.pop("CXX", None)
    done = subprocess.run([sys.executable, RECIPE], env=nowhere, capture_output=True, text=True)
    assert done.returncode == 2
    assert "needs c++" in done.stderr
    assert "apt-get install g++" in done.stderr
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_another_python_is_refused(
    recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "PYTHON", (3, 99))
    monkeypatch.setattr(sys, "argv", [str(RECIPE)])
    assert recipe.main() == 2
    assert "run it with Python 3.99" in capsys.readouterr().err
