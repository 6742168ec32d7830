"""10,000 requests that nobody should send: what the endpoint answers, what its memory does, and if it answers on."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks import synthetic
from benchmarks.bad_answers import Answer, faults, make_ready, send_all
from benchmarks.bad_requests import bad_requests
from benchmarks.endpoint import Running, serve
from benchmarks.figures import Figure
from benchmarks.serving_models import in_a_process, picture, write_project, write_version
from tasks.core.spec import Project

COUNT = 10_000
WARM_UP = 5_000
"""Requests before memory is looked at first: decoders and caches are loaded by the first that needs them."""

_LIMITS = {"serving.max_body_kib": 64, "serving.max_pixels": 4096}
_ROWS = {
    "source.columns": [{"name": "age", "type": "number"}, {"name": "member", "type": "boolean", "nullable": True}],
    "features": [{"kind": "numeric", "columns": ["age", "member"]}],
}
_NUMBER = {"task": "tabular_regression", "classes": [], "gates": [{"metric": "r2", "min": 0.1}]}


def measure() -> list[Figure]:
    """Two workers behind keys; corrupt images, strange JSON, huge and chunked bodies, bad keys, random bytes, ..."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for spec in specs():
            write_project(spec, folder / "projects")
        with serve(folder, workers=2) as endpoint:
            in_a_process(write_versions)
            for spec in specs():
                endpoint.make_champion(1, spec.name)
            return _measure(endpoint, make_ready(endpoint.registry, specs()), folder)


def specs() -> list[Project]:
    """The projects that the requests ask."""
    return [
        synthetic.project(8, {"name": "tiny", "image.channels": 1, **_LIMITS}),
        synthetic.project(None, {"name": "people", **_ROWS, **_LIMITS}),
        synthetic.project(None, {"name": "prices", **_ROWS, **_NUMBER, **_LIMITS}),
    ]


def write_versions() -> None:
    """Version 1 of each."""
    for spec in specs():
        write_version(spec, "bench")


def _measure(endpoint: Running, key: str, folder: Path) -> list[Figure]:
    send_all(endpoint.port, bad_requests(WARM_UP, 1, key))
    before, started = endpoint.resident_mib(), time.monotonic()
    answers = send_all(endpoint.port, bad_requests(COUNT, 2, key))
    seconds = time.monotonic() - started
    after = endpoint.resident_mib()
    found, cases = _schemathesis(endpoint, key, folder)
    good = [_ask(endpoint, key) for _ in range(100)]
    against = f"{COUNT} bad requests, {seconds:.0f} s"
    return [
        Figure("answers with 5xx, of another shape, or none at all", len(faults(answers)), "", "<= 0", _told(answers)),
        Figure("memory of both workers, growth", after - before, "MiB", "<= 16", f"{before:.0f} MiB; {against}"),
        Figure("schemathesis on /openapi.json: failures", found, "", "<= 0", cases),
        Figure("good requests answered afterwards", sum(good), "of 100", ">= 100", "the same two workers"),
    ]


def _told(answers: Sequence[Answer]) -> str:
    classes = [f"{name}: {sum(a.status // 100 == name for a in answers)}" for name in (2, 4, 5)]
    hung_up = sum(answer.status == 0 for answer in answers)
    return f"{', '.join(classes).replace(':', 'xx:')}, hung up on or by us: {hung_up}"


def _schemathesis(endpoint: Running, key: str, folder: Path) -> tuple[int, str]:
    """Failures that it found, and how many cases it tried."""
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{endpoint.url}/openapi.json", "--no-color"]
    options = ["--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing", "--max-examples", "40"]
    header = ["-H", f"X-API-Key: {key}", "--seed", "1"]
    done = subprocess.run([*command, *options, *header], cwd=folder, stdout=subprocess.PIPE, text=True)
    cases = re.search(r"^ *(\d+) generated", done.stdout, re.MULTILINE)
    failed = done.stdout.count("Test Case ID")
    return max(failed, int(done.returncode != 0)), f"{cases[1]} cases" if cases else "no cases"


def _ask(endpoint: Running, key: str) -> bool:
    body, media = picture("tiny")
    headers = {"content-type": media, "x-api-key": key}
    url = f"{endpoint.url}/v1/tiny/predict"
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code == 200
