"""Ingestion of photographs: its work per image beside a bare decoder, and its memory as a partition grows."""

import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from benchmarks.figures import Figure
from tasks.core.pipeline import STEPS
from tasks.core.registry import Registry
from tasks.core.settings import ROOT, settings
from tasks.core.spec import Image, Project
from tasks.core.stages import execute
from tasks.core.store import open_store
from tasks.platform.environment import ONE_THREAD, QUIET
from tasks.runtime.image_features import image_stats
from tasks.runtime.images import read
from tasks.runtime.near import perceptual_hash

PHOTOS, SIDE, ROUNDS = 1000, 512, 5
SEEN = Image(height=224, width=224, channels=3)
DAY = "2026-01-01"


def measure() -> list[Figure]:
    """Five rounds of each loop, turn about, over the same photographs; then the stage, in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(PHOTOS):
            _photo(Path(folder), number)
        bare, whole = _child(Path(folder), "rates")
        small, large = (_child(Path(folder), "stage", count) for count in (10_000, 100_000))
    name = f"JPEG {SIDE} -> {SEEN.width}"
    return [
        Figure(f"{name}: decode and resize alone", bare, "images/s"),
        Figure(f"{name}: read, decode, SHA-256, hash, statistics", whole, "images/s"),
        Figure("ingestion / bare decoder", whole / bare, "ratio", ">= 0.6", "simplejpeg + cv2, all cores"),
        Figure("ingest stage, 10,000 images", small[0], "images/s"),
        Figure("ingest stage, 100,000 images", large[0], "images/s"),
        Figure("peak memory at 10,000 images", small[1], "GB", "<= 1.5"),
        Figure("peak memory at 100,000 images", large[1], "GB", "<= 1.5", f"at 10,000: {small[1]:.2f} GB"),
    ]


def _child(folder: Path, *task: object) -> tuple[float, float]:
    """Two figures from a process of its own, with the threads that a stage has."""
    command = [sys.executable, "-m", "benchmarks.ingest", str(folder), *map(str, task)]
    home = {"UPDRAFT_HOME": str(folder / "-".join(map(str, task)))}
    environment = {**os.environ, **QUIET, **ONE_THREAD, **home}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    first, second = done.stdout.splitlines()[-1].split()
    return float(first), float(second)


def _rates(folder: Path) -> tuple[float, float]:
    """Images a second of the bare loop and of ingestion's work, on all cores: the medians."""
    photos = sorted(folder.glob("*.jpg"))
    seconds: dict[Callable[[Path], object], list[float]] = {_decode: [], _ingest: []}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in range(ROUNDS):
            for work, taken in seconds.items():
                started = time.perf_counter()
                list(pool.map(work, photos))
                taken.append(time.perf_counter() - started)
    bare, whole = (len(photos) / statistics.median(taken) for taken in seconds.values())
    return bare, whole


def _decode(path: Path) -> np.ndarray:
    """The fastest way to the pixels: libjpeg-turbo decodes to half the size, which is the nearest above the wanted."""
    pixels = simplejpeg.decode_jpeg(path.read_bytes(), "RGB", min_height=SEEN.height, min_width=SEEN.width)
    return cv2.resize(pixels, (SEEN.width, SEEN.height))


def _ingest(path: Path) -> tuple[str, int, np.ndarray]:
    data = path.read_bytes()
    _, pixels = read(data, SEEN)
    return hashlib.sha256(data).hexdigest(), perceptual_hash(pixels), image_stats(pixels)


def _photo(folder: Path, number: int) -> None:
    """Smooth light, hard edges and the grain of a sensor."""
    random = np.random.default_rng(number)
    light = cv2.resize(
        random.uniform(0, 255, (8, 8, 3)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
    )
    for corner in random.integers(0, SIDE, (12, 4)).tolist():
        cv2.rectangle(light, corner[:2], corner[2:], random.uniform(0, 255, 3).tolist(), -1 if number % 2 else 5)
    pixels = np.clip(light + random.normal(0, 6, light.shape), 0, 255).astype(np.uint8)
    (folder / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels, quality=90))


def _stage(folder: Path, count: int) -> tuple[float, float]:
    """Images a second and peak memory (GB) of the stage over ``count`` files: the photographs under many names."""
    source = folder / f"source-{count}"
    for name in ("even", "odd"):
        (source / name).mkdir(parents=True)
    for number in range(count):
        name = "odd" if number % 2 else "even"
        os.link(folder / f"{number % PHOTOS}.jpg", source / name / f"{number}.jpg")
    spec = {
        "name": "photos",
        "start": DAY,
        "classes": ["even", "odd"],
        "source": {"uri": str(source), "format": "image_folders", "partitions": "single"},
        "image": SEEN.model_dump(),
        "features": [{"kind": "image_stats"}],
        "gates": [{"metric": "accuracy", "min": 0.5}],
    }
    store, registry = open_store(settings().store_uri), Registry(settings().registry_url)
    project = Project.model_validate(spec)
    manifest = execute(STEPS["ingest"].stage, project, {}, store=store, registry=registry, partition=DAY)
    assert (manifest.rows.published, manifest.metrics["defects"]) == (count, 0)
    return count / manifest.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    where, what, *more = sys.argv[1:]
    print(*(_rates(Path(where)) if what == "rates" else _stage(Path(where), int(more[0]))))
