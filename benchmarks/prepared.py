"""A project whose data and weights a measurement makes itself, and the platform's own stages over them."""

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.core.artifacts import MANIFEST, Manifest
from tasks.core.pipeline import STEPS
from tasks.core.registry import Registry
from tasks.core.settings import ROOT
from tasks.core.shards import pack, write_split
from tasks.core.spec import Project
from tasks.core.stages import Inputs, execute
from tasks.core.store import LocalStore
from tasks.platform.environment import ONE_THREAD, QUIET
from tasks.runtime.extractors import extract

Labelled = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Split to its images, uint8 (N, H, W, C), and their labels (N,)."""


def in_own_process(module: str) -> Any:
    """What ``module.run(folder)`` prints last, which is JSON: in an empty folder, one thread per operation, as in a
    task."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"from {module} import run; run({folder!r})"
        environment = {**os.environ, **QUIET, **ONE_THREAD, "UPDRAFT_HOME": folder}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Prepared:
    """A store with one project of images in it."""

    folder: Path
    spec: Project

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

    def trained(self, data: Labelled, epochs: int) -> dict[str, list[Manifest]]:
        """What the export stage takes: data and weights are made here, the rest by the stages."""
        from tasks.training.loop import Job, fit

        inputs = {name: [self._made(name)] for name in ("dataset", "compress")}
        dataset = self.store.fetch(inputs["dataset"][0].folder)
        for split, (images, labels) in data.items():
            self._write_split(dataset, split, images, labels)
        inputs["transform"] = [self.stage("transform", inputs)]
        inputs["train"] = [self._made("train")]
        job = Job(self.spec, dataset, self.store.fetch(inputs["transform"][0].folder), epochs)
        model, _ = fit(job, lambda line: None)
        model.save(self.store.fetch(inputs["train"][0].folder) / "model.keras")
        return inputs

    def _made(self, stage: str) -> Manifest:
        """An artifact that is filled by hand."""
        manifest = Manifest(project=self.spec.name, stage=stage, partition=None, key=stage, digest=stage)
        path = self.store.root / manifest.folder
        path.mkdir(parents=True)
        (path / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        return manifest

    def _write_split(self, folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
        """Its shards, and each image's bytes in the store."""
        uris = [f"raw/{split}-{row}.png" for row in range(len(images))]
        for image, uri in zip(images, uris, strict=True):
            self.store.write_bytes(uri, _png(image))
        found = [extract(image, self.spec.features) for image in images]
        features = {group: np.stack([each[group] for each in found]) for group in found[0]}
        times = [datetime(2026, 1, 1, tzinfo=UTC)] * len(images)
        write_split(folder, split, pack(images, features, labels, uris, uris, times))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
