"""Makes ``.venv`` from ``requirements.lock``: every package hash-checked, bytecode compiled, by uv.

Run by the Python that the environment shall have, with nothing installed (``make install`` does). Exits with 2 and one
message when this machine lacks something.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"


def main() -> None:
    """Creates or updates the environment; a mark left last says which lock it holds."""
    if sys.version_info[:2] != (3, 11):
        _stop(
            f"Updraft needs Python 3.11; this is {sys.version.split()[0]}.", "Run: make run PYTHON=/path/to/python3.11"
        )
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        _stop("There is no C++ compiler, which building Horovod needs.", "Install g++ (Debian: apt-get install g++).")
    started = time.monotonic()
    print("Installing the locked packages into .venv (3 to 4 GB; a minute or two)", flush=True)
    if not (VENV / "bin" / "uv").exists():
        _run(sys.executable, "-m", "venv", "--clear", str(VENV))
        _install_uv()
    uv, python = str(VENV / "bin" / "uv"), str(VENV / "bin" / "python")
    _run(uv, "pip", "sync", "--python", python, "--require-hashes", "--compile-bytecode", "--quiet", str(LOCK))
    _run(uv, "pip", "install", "--python", python, "--no-deps", "--no-build-isolation", "--quiet", "-e", str(ROOT))
    (VENV / "installed").write_text(hashlib.sha256(LOCK.read_bytes()).hexdigest())
    print(f"Installed in {time.monotonic() - started:.0f} s", flush=True)


def _install_uv() -> None:
    """Installs the locked uv with pip, held to the lock's hashes."""
    entry = re.search(r"^uv==.*?(?=^\S|\Z)", LOCK.read_text(), re.MULTILINE | re.DOTALL)
    if entry is None:
        _stop(f"{LOCK.name} does not list uv.", "Restore the file: git checkout requirements.lock")
    wanted = VENV / "uv.txt"
    wanted.write_text("\n".join(line for line in entry.group().splitlines() if "# via" not in line))
    _run(str(VENV / "bin" / "pip"), "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(wanted))


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, env=environment)
    if done.returncode:
        _stop(
            f"This command failed: {' '.join(command)}", "See its message above, then run the same make command again."
        )


def _stop(message: str, fix: str) -> None:
    print(f"error: {message}\n  fix: {fix}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
