"""What a whole evaluation costs beside plain prediction of the same rows, and how much of that the intervals are.

The digits project's own network and features; its test split made 10,000 rows by adding noise to the real scans.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.figures import Figure
from tasks.core.artifacts import MANIFEST, Manifest
from tasks.core.config import load_project
from tasks.core.pipeline import STEPS
from tasks.core.registry import Registry
from tasks.core.settings import ROOT
from tasks.core.shards import pack, read_split, write_split
from tasks.core.spec import Project
from tasks.core.stages import Inputs, execute
from tasks.core.store import LocalStore
from tasks.platform.environment import ONE_THREAD, QUIET
from tasks.runtime.extractors import extract

ROWS = {"train": 5_000, "validation": 1_000, "test": 10_000}
EPOCHS = 3
CLASSES, RESAMPLES = 10, 1000


def measure() -> list[Figure]:
    """Both in one process that has imported everything, one thread per operation, as in a task."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"from benchmarks.evaluation import run; run({folder!r})"
        environment = {**os.environ, **QUIET, **ONE_THREAD, "UPDRAFT_HOME": folder}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
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

    prepared = _Prepared(Path(folder))
    inputs = prepared.exported()
    seconds = {"plain": prepared.plain_prediction(inputs)}
    started = time.perf_counter()
    report = prepared.stage("evaluate", inputs).metrics
    seconds["evaluate"] = time.perf_counter() - started
    measured = report["forms"]["plain"]
    counts = {"slices": len(measured["slices"]), "tests": len(measured["robustness"]) - 1}
    print(json.dumps(seconds | counts | {"bootstrap": _bootstrap()}))


@dataclass(frozen=True)
class _Prepared:
    """A store with one project in it."""

    folder: Path

    @property
    def spec(self) -> Project:
        """The digits project as it is shipped."""
        return load_project("digits")

    @property
    def store(self) -> LocalStore:
        """The project's."""
        return LocalStore(self.folder / "store")

    def stage(self, name: str, inputs: Inputs) -> Manifest:
        """Executes one of the platform's stages."""
        step = STEPS[name]
        wanted = {source: inputs[source] for source in step.inputs}
        registry = Registry(f"sqlite:///{self.folder / 'registry.db'}")
        return execute(step.stage, self.spec, wanted, store=self.store, registry=registry)

    def exported(self) -> dict[str, list[Manifest]]:
        """What the evaluation takes; data and weights are made here, the rest by the stages."""
        from tasks.training.loop import Job, fit

        inputs = {"dataset": [self._made("dataset")], "compress": [self._made("compress")]}
        _write_dataset(self.spec, self.store, self.store.fetch(inputs["dataset"][0].folder))
        inputs["transform"] = [self.stage("transform", inputs)]
        inputs["train"] = [self._made("train")]
        dataset, transform = (self.store.fetch(inputs[name][0].folder) for name in ("dataset", "transform"))
        model, _ = fit(Job(self.spec, dataset, transform, epochs=EPOCHS), lambda line: None)
        model.save(self.store.fetch(inputs["train"][0].folder) / "model.keras")
        inputs["export"] = [self.stage("export", inputs)]
        return inputs

    def plain_prediction(self, inputs: Mapping[str, list[Manifest]]) -> float:
        """Seconds to decode the test images, to compute their features and to predict."""
        from tasks.runtime.predictor import Predictor

        predictor = Predictor.load(self.store.fetch(f"{inputs['export'][0].folder}/plain"))
        test = read_split(self.store.fetch(inputs["dataset"][0].folder), "test")
        predictor.warm_up()
        started = time.perf_counter()
        predictor.predict_bytes(map(self.store.read_bytes, test.uris))
        return time.perf_counter() - started

    def _made(self, stage: str) -> Manifest:
        """An artifact that is filled by hand."""
        manifest = Manifest(project=self.spec.name, stage=stage, partition=None, key=stage, digest=stage)
        path = self.store.root / manifest.folder
        path.mkdir(parents=True)
        (path / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        return manifest


def _write_dataset(spec: Project, store: LocalStore, folder: Path) -> None:
    """Every split's shards, and each image's bytes in the store."""
    digits, random = load_digits(), np.random.default_rng(0)
    scans = digits.images * (255 / 16)
    for split, rows in ROWS.items():
        chosen = random.integers(0, len(scans), rows)
        images = np.clip(scans[chosen] + random.normal(0, 25, (rows, 8, 8)), 0, 255).astype(np.uint8)[..., None]
        uris = [f"raw/{split}-{row}.png" for row in range(rows)]
        for image, uri in zip(images, uris, strict=True):
            store.write_bytes(uri, _png(image[..., 0]))
        found = [extract(image, spec.features) for image in images]
        features = {group: np.stack([each[group] for each in found]) for group in found[0]}
        times = [datetime(2026, 1, 1, tzinfo=UTC)] * rows
        write_split(folder, split, pack(images, features, digits.target[chosen], uris, uris, times))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


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
