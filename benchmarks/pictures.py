"""Labelled images for a search: scikit-learn's digits, and a harder task that is drawn here."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tasks.core.layout import FILE, Layout
from tasks.core.shards import pack, write_split

VALIDATION = 0.2


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797: uint8 (N, 8, 8, 3), and labels."""
    found = load_digits()
    grey = np.round(found.images * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3), found.target


def shapes(rows: int, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Five shapes of some sizes and places, each striped one way or the other, in noise.

    Returns:
        uint8 (rows, side, side, 3), and labels from 0 to 9: shape and direction of the stripes.
    """
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, rows)
    images = np.stack([_shape(random, label % 5, striped_down=bool(label // 5), side=side) for label in labels])
    return images, labels


def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes training and validation split as the dataset and transform stages do, without any feature but one."""
    order = np.random.default_rng(1).permutation(len(labels))
    held_out = int(len(labels) * VALIDATION)
    for split, chosen in (("validation", order[:held_out]), ("train", order[held_out:])):
        names, times = [str(row) for row in chosen], [datetime(2026, 1, 1, tzinfo=UTC)] * len(chosen)
        write_split(folder, split, pack(images[chosen], {}, labels[chosen], names, names, times))
        np.save(folder / f"{split}.npy", np.zeros((len(chosen), 1), np.float32))
    (folder / FILE).write_text(json.dumps({"slices": Layout.plain(1).as_json()}))


def _shape(random: np.random.Generator, kind: int, *, striped_down: bool, side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2
    down, across = random.uniform(-side / 10, side / 10, 2)
    radius = random.uniform(side / 4, side / 3)
    y, x = y - down, x - across
    inside = (
        np.hypot(x, y) < radius,
        np.maximum(abs(x), abs(y)) < radius,
        (y > -radius) & (2 * abs(x) < radius - y),
        abs(np.hypot(x, y) - radius) < radius / 3,
        np.minimum(abs(x), abs(y)) < radius / 3,
    )[kind]
    stripes = np.sin((x if striped_down else y) * random.uniform(1.2, 1.8) + random.uniform(0, 6))
    grey = 128 + inside * (30 + 40 * stripes) + random.normal(0, 25, (side, side))
    colour = random.uniform(0.7, 1.0, 3)
    found: np.ndarray = np.clip(grey[..., None] * colour, 0, 255).astype(np.uint8)
    return found
