"""What a whole evaluation costs beside plain prediction of the same rows, and how much of that the intervals are.

The digits project's own network and features; its test split made 10,000 rows by adding noise to the real scans.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.figures import Figure
from benchmarks.prepared import Labelled, Prepared, in_own_process
from tasks.core.artifacts import Manifest
from tasks.core.config import load_project
from tasks.core.shards import read_split

ROWS = {"train": 5_000, "validation": 1_000, "test": 10_000}
EPOCHS = 3
CLASSES, RESAMPLES = 10, 1000


def measure() -> list[Figure]:
    """Both in one process that has imported everything."""
    found = in_own_process("benchmarks.evaluation")
    plain = f"plain prediction: {found['plain']:.1f} s"
    tests = f"{RESAMPLES} resamples, {found['slices']} slices, {found['tests']} robustness tests, explanations"
    times = found["evaluate"] / found["plain"]
    return [
        Figure("plain prediction of 10k test images from their bytes", found["plain"], "s"),
        Figure(f"evaluation of the same rows: {tests}", found["evaluate"], "s", "", plain),
        Figure("evaluation, times plain prediction", times, "x", "<= 10", plain),
        Figure(f"of which {RESAMPLES} resamples of 10k rows x {CLASSES} classes", found["bootstrap"], "s"),
    ]


def run(folder: str) -> None:
    """Prepares the project in ``folder``, measures, and prints the seconds as JSON."""
    from tasks.evaluation.evaluate import evaluate  # noqa: F401  (its libraries are not what is measured)

    prepared = Prepared(Path(folder), load_project("digits"))
    inputs = prepared.trained(_digits(), EPOCHS)
    inputs["export"] = [prepared.stage("export", inputs)]
    seconds = {"plain": _plain_prediction(prepared, inputs)}
    started = time.perf_counter()
    report = prepared.stage("evaluate", inputs).metrics
    seconds["evaluate"] = time.perf_counter() - started
    measured = report["forms"]["plain"]
    counts = {"slices": len(measured["slices"]), "tests": len(measured["robustness"]) - 1}
    print(json.dumps(seconds | counts | {"bootstrap": _bootstrap()}))


def _plain_prediction(prepared: Prepared, inputs: Mapping[str, list[Manifest]]) -> float:
    """Seconds to decode the test images, to compute their features and to predict."""
    from tasks.runtime.predictor import Predictor

    predictor = Predictor.load(prepared.store.fetch(f"{inputs['export'][0].folder}/plain"))
    test = read_split(prepared.store.fetch(inputs["dataset"][0].folder), "test")
    predictor.warm_up()
    started = time.perf_counter()
    predictor.predict_bytes(map(prepared.store.read_bytes, test.uris))
    return time.perf_counter() - started


def _digits() -> Labelled:
    digits, random = load_digits(), np.random.default_rng(0)
    scans = digits.images * (255 / 16)

    def noisy(rows: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = random.integers(0, len(scans), rows)
        images = np.clip(scans[chosen] + random.normal(0, 25, (rows, 8, 8)), 0, 255)
        return images.astype(np.uint8)[..., None], digits.target[chosen]

    return {split: noisy(rows) for split, rows in ROWS.items()}


def _bootstrap() -> float:
    """Seconds for the intervals of every measure of one classifier."""
    from tasks.evaluation.intervals import Judged, intervals, resample
    from tasks.evaluation.metrics import of_classes

    random, rows = np.random.default_rng(0), ROWS["test"]
    labels: Any = random.integers(0, CLASSES, rows)
    probabilities = random.dirichlet(np.ones(CLASSES), rows)
    started = time.perf_counter()
    judged = {None: Judged(of_classes(labels, probabilities), np.arange(rows))}
    intervals(resample(judged, rows, RESAMPLES)[None], 0.95)
    return time.perf_counter() - started
