"""What the transform costs: fitting the graph on Beam's default runner, and applying it, beside the same in NumPy.

20 columns: 14 numbers as z-scores, 5 categories of 8 values, one number in 10 quantile buckets.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from tasks.core.settings import ROOT
from tasks.core.shards import pack, write_split
from tasks.core.spec import Bucketize, Categorical, Feature, Numeric, Vocabulary

NUMBERS = tuple(f"n{k}" for k in range(14))
CATEGORIES = tuple(f"c{k}" for k in range(5))
FEATURES: tuple[Feature, ...] = (
    Numeric(kind="numeric", columns=NUMBERS),
    Categorical(kind="categorical", columns=CATEGORIES, encode=Vocabulary(kind="vocabulary", size=8)),
    Numeric(kind="numeric", name="age", columns=("age",), normalize=Bucketize(kind="bucketize", buckets=10)),
)
RAW = {"numeric": NUMBERS, "categorical": CATEGORIES, "age": ("age",)}
SMALL, LARGE, BATCH = 100_000, 1_000_000, 16_384


def measure() -> list[Figure]:
    """Fits 100k and 1M rows in fresh processes, then applies the larger fit to its rows."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = (_fitted(Path(folder) / str(rows), rows) for rows in (SMALL, LARGE))
        ratio, seconds = _against_numpy(Path(folder) / str(LARGE))
    return [
        Figure("analysis of 100k rows x 20 columns, CPU beyond imports", small, "s", "<= 20", "issue's bound"),
        Figure("analysis of 1M rows x 20 columns, CPU beyond imports", large, "s", "<= 40", "issue's bound"),
        Figure("applying the graph to 1M rows, CPU", seconds, "s"),
        Figure("applying the graph to 1M rows, times NumPy's", ratio, "x", "<= 2", "the same arithmetic in NumPy"),
    ]


def data(rows: int) -> dict[str, np.ndarray]:
    """Feature group to its raw values; a twentieth of the numbers is missing."""
    random = np.random.default_rng(0)
    numbers = random.normal(50, 20, (rows, len(NUMBERS))).astype(np.float32)
    numbers[random.random(numbers.shape) < 0.05] = np.nan
    words = np.array([f"value {k}" for k in range(8)], object)
    categories = words[np.minimum(random.geometric(0.4, (rows, len(CATEGORIES))) - 1, 7)]
    return {
        "numeric": numbers,
        "categorical": categories,
        "age": random.gamma(4, 9, (rows, 1)).round(2).astype(np.float32),
    }


def _fitted(folder: Path, rows: int) -> float:
    """Seconds of CPU, children included, of a process that fits ``folder``'s shards after its imports."""
    folder.mkdir()
    nothing = [""] * rows
    write_split(folder, "train", pack(None, data(rows), np.zeros(rows), nothing, nothing, np.zeros(rows, "M8[us]")))
    code = f"from benchmarks.transform import fit_in; fit_in({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def fit_in(folder: str) -> None:
    """Fits the shards in ``folder`` and prints the seconds of CPU that took."""
    from tasks.features.transform import fit

    def spent() -> float:
        return sum(os.times()[:4])

    before, path = spent(), Path(folder)
    fit(sorted(path.glob("train-*.arrow")), FEATURES, RAW, path / "transform_fn", path / "beam")
    print(spent() - before)


def _against_numpy(folder: Path) -> tuple[float, float]:
    """How many times NumPy's CPU the graph takes, the best of three each, taken in turns; and its seconds."""
    from tasks.features.transform import load

    run, names, _ = load(folder / "transform_fn")
    groups = data(LARGE)
    by_hand = _by_hand(groups, names)
    graph, numpy = zip(*((_seconds(run, groups), _seconds(by_hand, groups)) for _ in range(3)), strict=True)
    rows = {name: values[:BATCH] for name, values in groups.items()}
    np.testing.assert_allclose(run(rows), by_hand(rows), atol=1e-5)
    return min(graph) / min(numpy), min(graph)


def _seconds(run: Callable[[Mapping[str, np.ndarray]], np.ndarray], groups: Mapping[str, np.ndarray]) -> float:
    started, rows = time.process_time(), len(groups["age"])
    for start in range(0, rows, BATCH):
        run({name: values[start : start + BATCH] for name, values in groups.items()})
    return time.process_time() - started


def _by_hand(groups: Mapping[str, np.ndarray], names: list[str]) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """The same arithmetic written in NumPy, fitted by NumPy; only the order of the categories is the graph's."""
    mean = np.nanmean(groups["numeric"], axis=0, dtype=np.float64).astype(np.float32)
    filled = np.where(np.isnan(groups["numeric"]), mean, groups["numeric"])
    deviation = filled.std(axis=0, dtype=np.float64).astype(np.float32)
    edges = np.quantile(groups["age"], np.arange(1, 10) / 10, method="inverted_cdf")
    places: list[dict[str, int]] = [{} for _ in CATEGORIES]
    for position, name in enumerate(names):
        column, found, value = name.removeprefix("categorical.").partition("=")
        if found:
            places[CATEGORIES.index(column)][value] = position
    others = [names.index(f"categorical.{column} (other)") for column in CATEGORIES]

    def run(rows: Mapping[str, np.ndarray]) -> np.ndarray:
        values = rows["numeric"]
        out = np.zeros((len(values), len(names)), np.float32)
        out[:, : len(NUMBERS)] = (np.where(np.isnan(values), mean, values) - mean) / deviation
        every = np.arange(len(values))
        for column, known, other in zip(rows["categorical"].T, places, others, strict=True):
            out[every, [known.get(value, other) for value in column]] = 1
        out[every, len(names) - 10 + np.searchsorted(edges, rows["age"][:, 0], side="right")] = 1
        return out

    return run
