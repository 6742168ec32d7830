"""The Bento of a version: package, service code and requirements in one file that ``bentoml serve`` runs anywhere.

BentoML builds in a process of its own: it changes the working directory, ``sys.path`` and global state, and importing
the service there proves that the Bento's own sources are enough. Nothing is resolved over the network.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from tasks.core.artifacts import digest_file
from tasks.core.errors import UpdraftError
from tasks.core.settings import ROOT
from tasks.core.spec import CnnEmbedding
from tasks.core.stages import Context
from tasks.runtime.libraries import LIBRARIES
from tasks.runtime.predictor import Signature

SERVICE = "serving.packaged:Updraft"
"""What the Bento runs."""

_ALWAYS = (
    *("httptools", "numpy", "opencv-python-headless", "orjson", "pillow", "pydantic", "pydantic-settings"),
    *("python-multipart", "pyyaml", "simplejpeg"),
)
"""What the service imports whatever it serves; BentoML adds itself, and brings Starlette."""

_ONLINE = ("mmh3", "psycopg", "psycopg-binary", "redis")
"""What entities are looked up with, wherever UPDRAFT_ONLINE_STORE leads."""

_SOURCES = ("serving", "tasks/__init__.py", "tasks/core", "tasks/runtime")
_BUILD = "import bentoml, json, sys; bentoml.bentos.build(**json.loads(sys.argv[1])).export(sys.argv[2])"


def service_code(ctx: Context) -> Mapping[str, str]:
    """The sources that a Bento carries and that no import of the package stage leads to, by digest."""
    folder = ROOT / "serving"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


def requirements(signature: Signature) -> list[str]:
    """What a Bento's service imports for such a package, pinned to the versions here; of the runtimes, only its own."""
    names = {*_ALWAYS, LIBRARIES[signature.runtime]}
    if signature.image is None:
        names.add("pyarrow")
        names.update(_ONLINE if signature.view else ())
    if any(isinstance(feature, CnnEmbedding) for feature in signature.features):
        names.add(LIBRARIES["onnx"])
    return [f"{name}=={version(name)}" for name in sorted(names)]


def build_bento(package: Path, name: str, tag: str, needed: list[str], work: Path, target: Path) -> None:
    """Builds the Bento ``name:tag`` around the files of ``package`` and writes it to ``target``.

    Args:
        package: folder with what `tasks.runtime.predictor.Predictor.load` reads.
        needed: its requirements, pinned.
        work: an existing folder for the build's own files; they are removed again.
        target: a path that ends in ``.bento``.

    Raises:
        UpdraftError: BentoML could not build it; the message holds its last lines.
    """
    context, home = work / "bento", work / "bentoml"
    for folder in (context, home):
        shutil.rmtree(folder, ignore_errors=True)
    _gather(package, context)
    options = {
        "service": SERVICE,
        "name": name,
        "version": tag,
        "description": f"{name}, packaged by Updraft: `bentoml serve` answers POST /v1/{name}/predict.",
        "include": ["*"],
        "python": {"packages": needed, "lock_packages": False},
        "build_ctx": str(context),
    }
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", _BUILD, json.dumps(options), str(target)]
    done = subprocess.run(command, cwd=context, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise UpdraftError(f"The Bento {name}:{tag} was not built:\n{last}", "Correct what BentoML names.")
    for folder in (context, home):
        shutil.rmtree(folder)


def _gather(package: Path, context: Path) -> None:
    shutil.copytree(package, context / "package")
    for source in _SOURCES:
        target = context / source
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__", "migrations"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)
