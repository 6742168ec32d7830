"""10,000 requests that nobody should send: what the endpoint answers, what its memory does, and if it answers on."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from benchmarks.figures import Figure
from tests.abuse import Answer, bad_requests, faults, make_ready, send_all
from tests.packages import png
from tests.serving.conftest import Running, serve

COUNT = 10_000
WARM_UP = 5_000
"""Requests before memory is looked at first: decoders and caches are loaded by the first that needs them."""


def measure() -> list[Figure]:
    """Two workers behind keys; corrupt images, strange JSON, huge and chunked bodies, bad keys, random bytes, ..."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), workers=2) as endpoint:
        key = make_ready(endpoint)
        port = int(endpoint.url.rpartition(":")[2])
        send_all(port, bad_requests(WARM_UP, 1, key))
        before, started = _resident_mib(endpoint), time.monotonic()
        answers = send_all(port, bad_requests(COUNT, 2, key))
        seconds = time.monotonic() - started
        after = _resident_mib(endpoint)
        found, cases = _schemathesis(endpoint, key, Path(folder))
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


def _resident_mib(endpoint: Running) -> float:
    return sum(worker.memory_info().rss for worker in psutil.Process(endpoint.pid).children()) / 2**20


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
    headers = {"content-type": "image/png", "x-api-key": key}
    url = f"{endpoint.url}/v1/tiny/predict"
    return httpx.post(url, content=png(200), headers=headers, trust_env=False).status_code == 200
