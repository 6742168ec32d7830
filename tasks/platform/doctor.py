"""What can be wrong with this machine and this installation, found in under a second and named with its fix."""

import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.core.config import load_project, project_names
from tasks.core.errors import BadInput, UpdraftError
from tasks.core.settings import ROOT, Settings
from tasks.platform import supervisor
from tasks.platform.services import platform

PYTHON = (3, 11)
FREE_GIB = 2.0
"""Room that a first run needs under the home: databases, logs, artifacts of the sample project."""
COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    """What was found; for a fault, also what to do."""


def diagnose(settings: Settings, lock: Path = ROOT / "requirements.lock") -> list[Check]:
    """Look at Python, packages, Horovod, compiler, home, disk, projects, ports and services; change nothing.

    Args:
        lock: the versions that should be installed.
    """
    checks: dict[str, Callable[[], str]] = {
        "python": check_python,
        "packages": lambda: check_packages(lock),
        "horovod": check_horovod,
        "compiler": check_compiler,
        "home": lambda: check_home(settings.home),
        "disk": lambda: check_disk(settings.home),
        "projects": check_projects,
        "ports": lambda: check_ports(settings),
        "services": lambda: check_services(settings),
    }
    return [_checked(name, check) for name, check in checks.items()]


def check_python() -> str:
    """Raises UpdraftError if this is not the Python that the lock was made for."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != PYTHON:
        wanted = ".".join(map(str, PYTHON))
        raise UpdraftError(f"this is Python {version}, and the packages are for {wanted}", f"install Python {wanted}")
    return version


def check_packages(lock: Path) -> str:
    """Raises UpdraftError if an installed package is not of the version in ``lock``; names them."""
    wanted = dict(_locked(lock))
    wrong = []
    for name, version in wanted.items():
        found = _version(name)
        if found != version:
            wrong.append(f"{name} is {found or 'missing'}, locked {version}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UpdraftError(f"{'; '.join(wrong[:5])}{more}", "run `make install`")
    return f"{len(wanted)} as {lock.name} says"


def check_horovod() -> str:
    """Raises UpdraftError if Horovod is missing, has no TensorFlow binding, or has one for another TensorFlow."""
    try:
        horovod = importlib.metadata.distribution("horovod")
        built_for = json.loads(Path(str(horovod.locate_file("horovod/metadata.json"))).read_text())["tensorflow"]
    except importlib.metadata.PackageNotFoundError:
        raise UpdraftError("not installed", "run `make install`: it builds the wheel") from None
    except (OSError, ValueError, KeyError):
        raise UpdraftError("built without TensorFlow", "run `make install`: it builds the wheel") from None
    if built_for != _version("tensorflow"):
        raise UpdraftError(
            f"built for TensorFlow {built_for}, and {_version('tensorflow')} is installed",
            "run `make install`: it builds the wheel anew",
        )
    return f"{horovod.version}, built for TensorFlow {built_for}"


def check_compiler() -> str:
    """Raises UpdraftError if there is no C++ compiler, which building Horovod needs."""
    for compiler in COMPILERS:
        if path := shutil.which(compiler):
            return path
    raise UpdraftError("no C++ compiler: Horovod could not be built again", "install g++ (Debian: apt-get install g++)")


def check_home(home: Path) -> str:
    """Raises UpdraftError if ``home`` cannot be written to, or could not be made."""
    if not os.access(_standing(home), os.W_OK | os.X_OK):
        raise UpdraftError(f"{home} cannot be written to", "change its owner, or set UPDRAFT_HOME to another folder")
    return str(home)


def check_disk(home: Path) -> str:
    """Raises UpdraftError if the disk of ``home`` is nearly full."""
    gib = shutil.disk_usage(_standing(home)).free / 2**30
    if gib < FREE_GIB:
        raise UpdraftError(
            f"{gib:.1f} GiB are free at {home}, and {FREE_GIB:.0f} are needed",
            "make room, or set UPDRAFT_HOME to a folder on another disk",
        )
    return f"{gib:.0f} GiB free"


def check_projects() -> str:
    """Raises UpdraftError if the spec of a project cannot be used: it has no DAGs then; names each fault."""
    names, faults = project_names(), []
    for name in names:
        try:
            load_project(name)
        except BadInput as fault:
            faults.append(fault)
    if faults:
        raise UpdraftError("\n".join(fault.message for fault in faults), faults[0].fix)
    return ", ".join(names) or "none yet"


def check_ports(settings: Settings) -> str:
    """Raises UpdraftError if somebody else has a port that the platform needs."""
    services = [service for service in platform(settings) if service.port]
    supervisor.missing(services, settings.home)
    return ", ".join(f"{service.port} ({service.name})" for service in services)


def check_services(settings: Settings) -> str:
    """Raises UpdraftError if a part of the platform has ended by itself, or runs and is not well."""
    found = supervisor.inspect(platform(settings), settings.home)
    if not any(status.running for status in found):
        return "stopped"
    for status in found:
        if not status.healthy:
            how = "is not healthy" if status.running else "has ended"
            raise UpdraftError(f"{status.name} {how}", f"read {status.log}, then run `updraft up`")
    return f"{len(found)} healthy"


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except UpdraftError as fault:
        return Check(name, False, f"{fault.message.rstrip('.')}. Fix: {fault.fix}")


def _locked(lock: Path) -> Iterator[tuple[str, str]]:
    for line in lock.read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", line):
            yield match[1], match[2]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _standing(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
