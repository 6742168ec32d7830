"""Build Horovod's wheel from its source archive with our patches, once per machine, and install it.

PyPI has no wheel of Horovod, and its last source does not compile against the TensorFlow we run (each file in
``patches/`` says what it mends and why). The wheel is kept in the user's cache folder under a key made of everything it
depends on, so that a second clone or a second environment takes seconds.

    python docker/horovod/build_wheel.py             print the wheel's path, building it if need be
    python docker/horovod/build_wheel.py --install   and install it into the environment of this Python

Standard library only: it runs before anything of Updraft is importable. Exit code 1: the download or the build failed;
2: this machine or environment lacks something that the message names, and nothing was downloaded.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
SDIST = HERE / "sdist.txt"
PATCHES = sorted((HERE / "patches").glob("*.patch"))
PYTHON = (3, 11)
FLAGS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_CPU_OPERATIONS": "GLOO",
    # Horovod always compiles with debug information; without it the library is a tenth of the size.
    "LDFLAGS": "-Wl,--strip-debug",
}
BUILD_PACKAGES = ("pip", "wheel", "setuptools", "cmake", "packaging", "cloudpickle", "psutil", "tensorflow")
GIB_PER_COMPILER = 2  # what one compiler process takes on TensorFlow's headers, at most


class Failed(Exception):
    """What ended the program."""

    def __init__(self, message: str, fix: str, code: int = 1) -> None:
        """Say what happened and what to do; exit code 1 is work that failed, 2 is something missing."""
        super().__init__(f"{message}\n  fix: {fix}")
        self.code = code


def wheel_key() -> str:
    """Digest of everything the wheel's content depends on: source, patches, flags, TensorFlow, Python, machine."""
    parts = {
        "sdist": SDIST.read_text(),
        "patches": [patch.read_text() for patch in PATCHES],
        "flags": FLAGS,
        "tensorflow": _version("tensorflow"),
        "python": sysconfig.get_config_var("SOABI"),
        "machine": platform.machine(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def installed(key: str) -> bool:
    """Whether this environment's Horovod came from the wheel ``key``: pip records where a wheel lay (PEP 610)."""
    try:
        origin = metadata.distribution("horovod").read_text("direct_url.json") or "{}"
    except metadata.PackageNotFoundError:
        return False
    return f"/{key}/" in json.loads(origin).get("url", "")


def wheel(key: str) -> Path:
    """Path of the cached wheel, built first if it is not there; a second caller waits for the first one's build."""
    folder = _cache() / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        check_tools()
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _build_into(folder)
    return next(folder.glob("*.whl"))


def check_tools() -> None:
    """Refuse before anything is downloaded if a package or a program that the build needs is missing."""
    if absent := [name for name in BUILD_PACKAGES if not _version(name)]:
        raise Failed(
            f"building Horovod needs {', '.join(absent)} in the environment of {sys.executable}",
            "install requirements.lock into it (`make install`)",
            code=2,
        )
    compilers = [os.environ["CXX"].split()[0]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    for programs, package in ((compilers, "g++"), (["make"], "make"), (["git"], "git")):
        if not any(shutil.which(program, path=_environment()["PATH"]) for program in programs):
            raise Failed(
                f"building Horovod needs {' or '.join(programs)}, and PATH has none",
                f"install it (Debian: apt-get install {package})",
                code=2,
            )


def install(path: Path) -> None:
    """Install the wheel into this environment and import it; a wheel that does not import is taken out again."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--force-reinstall", str(path)], check=True)
    probe = subprocess.run([sys.executable, "-c", "import horovod.tensorflow"], capture_output=True, text=True)
    if probe.returncode:
        subprocess.run([*pip, "uninstall", "--yes", "horovod"], check=True)
        last = "\n".join(probe.stderr.splitlines()[-8:])
        raise Failed(f"the Horovod wheel does not import:\n{last}", f"delete {path.parent} and run this again")


def _build_into(folder: Path) -> None:
    """Build in a folder of the same name plus ``.partial`` and rename its wheel folder once it is whole."""
    work = folder.with_suffix(".partial")
    shutil.rmtree(work, ignore_errors=True)  # what a build that was killed with -9 left
    out = work / "wheel"
    out.mkdir(parents=True)
    log = folder.with_suffix(".log")
    try:
        source = _download(work, log)
        subprocess.run(["git", "apply", *map(str, PATCHES)], cwd=source, check=True)
        command = ["wheel", "--verbose", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source)]
        if _run_pip(command, log, "building"):
            raise Failed(f"Horovod did not build:\n{_useful_lines(log)}", f"read the full log: {log}")
        out.rename(folder)
        log.unlink()
    except (KeyboardInterrupt, SystemExit):
        log.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(work: Path, log: Path) -> Path:
    """Fetch the archive that ``sdist.txt`` pins by hash, and unpack it: a used tree does not configure again."""
    command = ["download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    if _run_pip([*command, "--dest", str(work), "-r", str(SDIST)], log, "downloading"):
        raise Failed(
            f"Horovod's source could not be downloaded:\n{_useful_lines(log)}",
            f"check the network and pip's index settings; the full log: {log}",
        )
    with tarfile.open(next(work.glob("horovod-*.tar.gz"))) as archive:
        archive.extractall(work, filter="data")
    return next(path for path in work.glob("horovod-*") if path.is_dir())


def _run_pip(arguments: list[str], log: Path, doing: str) -> int:
    """Run pip with its output in ``log``, show progress, and return its exit code; an exception ends it."""
    started = time.monotonic()
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
        child = subprocess.Popen(
            command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=_environment(), start_new_session=True
        )
    seconds = 0.5 if sys.stderr.isatty() else 5.0
    try:
        while True:
            try:
                return child.wait(seconds)
            except subprocess.TimeoutExpired:
                _show_progress(doing, log, time.monotonic() - started)
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _show_progress(doing: str, log: Path, elapsed: float) -> None:
    """Show how far make has come: in place on a terminal, otherwise in a line of its own."""
    steps = re.findall(r"\[ *(\d+)%\] \w+ .*?([^/ ]+)$", log.read_text(errors="replace"), re.MULTILINE)
    percent, step = steps[-1] if steps else ("0", "configuring")
    what = f"{percent:>3}%  {step.removesuffix('.o')}  (4 CPU minutes in all)" if doing == "building" else ""
    line = f"horovod: {doing} {what}  {elapsed:.0f} s"
    print(f"\r\033[K{line}" if sys.stderr.isatty() else f"{line}\n", end="", file=sys.stderr, flush=True)


def _useful_lines(log: Path, most: int = 8) -> str:
    """The lines in which a compiler, or else pip, names an error; a log without any, by its end."""
    lines = [line.strip()[:300] for line in log.read_text(errors="replace").splitlines()]
    compiler = [
        line for line in lines if re.search(r"\d: .*error: |undefined reference|No space left|Killed|CMake E", line)
    ]
    pip = [line for line in lines if line.startswith("ERROR")]
    return "\n".join((compiler or pip or lines)[-most:])


def _environment() -> dict[str, str]:
    """The build's environment: our flags only, this Python's programs (cmake) first, a compiler per core."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOROVOD_")}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**30
    jobs = max(1, min(len(os.sched_getaffinity(0)), memory // GIB_PER_COMPILER))
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    return {**inherited, **FLAGS, "MAKEFLAGS": f"-j{jobs}", "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"}


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "updraft" / "wheels"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="install the wheel into this Python's environment")
    options = parser.parse_args()
    # A plain end would leave compilers running and a half-built folder behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    try:
        if sys.version_info[:2] != PYTHON:
            wanted = ".".join(map(str, PYTHON))
            raise Failed(f"this is Python {platform.python_version()}", f"run it with Python {wanted}", code=2)
        key = wheel_key()
        if options.install and installed(key):
            return 0
        path = wheel(key)
        if options.install:
            install(path)
        print(path, flush=True)
    except Failed as failure:
        print(f"\nhorovod: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
