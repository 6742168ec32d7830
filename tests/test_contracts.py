"""Who may import whom: the contracts of setup.cfg hold."""

import subprocess
import sys
from pathlib import Path

from tasks.core.settings import ROOT


def test_the_import_contracts_hold() -> None:
    program = str(Path(sys.executable).parent / "lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "11 kept, 0 broken" in done.stdout
