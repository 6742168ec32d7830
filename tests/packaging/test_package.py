"""The package stage: the chosen form, and the Bento that serves it alone."""

import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.core.artifacts import Manifest
from tasks.core.errors import Refused
from tasks.packaging.bento import requirements
from tasks.runtime.predictor import LITERT, MODEL, Predictor
from tests.packaging.made import Trained, png, row

PACKAGINGS = {
    "images": ("float16", {"forms": [{"kind": "float16"}]}),
    "numbers": ("plain", {"runtimes": ["litert"]}),
    "strings": ("plain", {}),
}
"""Of each trained model, the form that the gate chose, and what the spec says: one for each runtime."""


def _packaged(made: Trained, kind: str) -> Manifest:
    chosen, packaging = PACKAGINGS[kind]
    return made.package(made.export(packaging), chosen)


def test_the_chosen_form_is_packaged(images: Trained) -> None:
    package = _packaged(images, "images")
    assert (package.metrics["form"], package.metrics["runtime"]) == ("float16", "onnx")
    folder = images.folder(package)
    signature = Predictor.load(folder).signature
    assert (signature.form, signature.build) == ("float16", package.key[:12])
    assert package.metrics["model_bytes"] == (folder / MODEL).stat().st_size
    assert package.metrics["bento_bytes"] == (folder / package.metrics["bento"]).stat().st_size


def test_nothing_is_packaged_that_no_gate_let_pass(images: Trained) -> None:
    export = images.export(PACKAGINGS["images"][1])
    with pytest.raises(Refused, match="did not pass"):
        images.package(export, chosen=None)


@pytest.mark.slow
def test_a_bento_asks_for_the_runtime_that_it_needs_alone(numbers: Trained) -> None:
    package = _packaged(numbers, "numbers")
    folder = numbers.folder(package)
    assert (folder / LITERT).is_file()
    with tarfile.open(folder / package.metrics["bento"]) as bento:
        (name,) = [name for name in bento.getnames() if name.endswith("requirements.txt")]
        asked = bento.extractfile(name).read().decode()  # type: ignore[union-attr]
    assert "ai-edge-litert==" in asked
    assert "onnxruntime" not in asked and "tensorflow" not in asked
    # Entities may be asked for, wherever the online store is.
    assert all(f"\n{client}==" in asked for client in ("mmh3", "psycopg", "psycopg-binary", "redis"))


def test_a_bento_of_images_asks_for_no_online_store(images: Trained) -> None:
    signature = Predictor.load(images.folder(images.export(PACKAGINGS["images"][1]), "plain")).signature
    assert signature.view and not {"mmh3", "psycopg", "redis"} & {
        each.split("==")[0] for each in requirements(signature)
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", PACKAGINGS)
def test_the_bento_serves_alone(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    """In an empty folder that is home and working directory, with nothing on the path but what is installed."""
    made: Trained = request.getfixturevalue(kind)
    package = _packaged(made, kind)
    name, build = made.spec.name, package.key[:12]
    bento = made.folder(package) / package.metrics["bento"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UPDRAFT_")}
    environment |= {"HOME": str(tmp_path), "BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    environment.pop("PYTHONPATH", None)
    bentoml = [sys.executable, "-P", "-m", "bentoml"]
    subprocess.run([*bentoml, "import", str(bento)], env=environment, cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*bentoml, "serve", f"{name}:{build}", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    sent: dict[str, Any] = {"json": {"instances": [row(5)]}}
    if kind == "images":
        sent = {"content": png(5), "headers": {"content-type": "image/png"}}
    try:
        answer = _first_answer(server, f"http://127.0.0.1:{port}/v1/{name}/predict", sent, tmp_path / "log")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    predictor = Predictor.load(made.folder(package))
    expected = (predictor.predict_bytes([png(5)]) if kind == "images" else predictor.predict_rows([row(5)]))[0]
    given = {row["label"]: row["probability"] for row in answer["predictions"][0]["top"]}
    assert given == pytest.approx(dict(zip("abc", expected.tolist(), strict=True)))
    assert answer["version"] == build


def _first_answer(server: subprocess.Popen[bytes], url: str, sent: dict[str, Any], log: Path) -> dict[str, Any]:
    while server.poll() is None:
        try:
            response = httpx.post(url, **sent, trust_env=False, timeout=30)
            assert response.status_code == 200, response.text
            return response.json()
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())
