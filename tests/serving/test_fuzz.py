"""Requests that nobody should send: no 5xx, one shape of error, and the endpoint answers on."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.bad_answers import faults, make_ready, send_all
from benchmarks.bad_requests import bad_requests
from benchmarks.endpoint import Running, until
from tests.packages import people, png, project, register

COUNT = 1200


@pytest.fixture(scope="module")
def key(endpoint: Running) -> str:
    """The key that most requests to the endpoint of images, rows and numbers carry."""
    names = ("tiny", "people", "prices")
    for name in names:
        endpoint.make_champion(register(endpoint.registry, endpoint.store, "first", name=name).version, name)
    found = make_ready(endpoint.registry, map(project, names))
    until(lambda: endpoint.client.post("/v1/tiny/predict", content=png(9)).status_code == 401)
    return found


def test_bad_requests_are_answered_as_such(endpoint: Running, key: str) -> None:
    answers = send_all(endpoint.port, bad_requests(COUNT, 20261121, key))
    assert not faults(answers)
    seen = Counter(answer.status for answer in answers)
    assert len(answers) == COUNT and {400, 401, 404, 405, 413, 415, 422} <= set(seen)
    _answers_on(endpoint, key)
    log = endpoint.log.read_text()
    assert "Traceback" not in log and key not in log


@pytest.mark.slow
def test_schemathesis_finds_no_fault(endpoint: Running, key: str, tmp_path: Path) -> None:
    program = str(Path(sys.executable).parent / "schemathesis")
    checks = ("--checks", "not_a_server_error,status_code_conformance,content_type_conformance")
    options = ("--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--no-color")
    command = [program, "run", f"{endpoint.url}/openapi.json", *checks, *options, "-H", f"X-API-Key: {key}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    _answers_on(endpoint, key)


def _answers_on(endpoint: Running, key: str) -> None:
    headers = {"content-type": "image/png", "x-api-key": key}
    assert endpoint.client.post("/v1/tiny/predict", content=png(200), headers=headers).status_code == 200
    rows = endpoint.client.post("/v1/people/predict", json={"instances": people(3)}, headers={"x-api-key": key})
    assert rows.status_code == 200 and len(rows.json()["predictions"]) == 3
