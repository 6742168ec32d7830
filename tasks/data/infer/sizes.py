"""How large a model, how long a training and how hard a gate suit the data."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

STEPS = 2_000
"""Updates after which a small network has learned what it will."""


def training(rows: int) -> dict[str, Any]:
    """Batches that grow with the data, and epochs for about `STEPS` updates.

    Args:
        rows: of all splits.
    """
    batch = next(size for size, limit in ((16, 500), (32, 5_000), (64, 50_000), (128, math.inf)) if rows <= limit)
    epochs = max(count for count in (3, 5, 8, 10, 15, 20, 30, 40) if count == 3 or count * rows <= STEPS * batch)
    return {"epochs": epochs, "batch_size": batch, "learning_rate": 0.001 if rows > 5_000 else 0.003}


def tuning(rows: int, epochs: int, units: Sequence[int]) -> dict[str, Any]:
    """A few short trials over learning rate, dropout and width."""
    wider = [[width * factor for width in units] for factor in (1, 2)]
    return {
        "trials": 6 if rows <= 50_000 else 4,
        "epochs": max(2, epochs // 4),
        "space": {
            "training.learning_rate": {"low": 0.0003, "high": 0.01, "log": True},
            "model.dropout": {"low": 0.0, "high": 0.5},
            "model.units": {"values": wider},
        },
    }


def convnet(height: int, width: int) -> dict[str, Any]:
    """Convolution blocks until a few pixels are left, so that the dense layers stay small."""
    blocks = max(2, math.ceil(math.log2(min(height, width) / 8)) + 1)
    return {
        "family": "convnet",
        "filters": [min(64, 16 * 2**at) for at in range(blocks)],
        "units": [64],
        "dropout": 0.3,
    }


def perceptron(rows: int, texts: bool) -> dict[str, Any]:
    """Dense layers; texts have many features and need more dropout."""
    units = [64] if rows <= 20_000 else [128, 64]
    return {"family": "mlp", "units": units, "dropout": 0.4 if texts else 0.2}


def gates(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Better than knowing only how frequent each class is, and no worse than the champion.

    That is the share of the largest class for accuracy, and the entropy of the classes for log loss.
    """
    shares = [count / sum(counts.values()) for count in counts.values()]
    entropy = -sum(share * math.log(share) for share in shares if share)
    return [
        {"metric": "accuracy", "min": min(0.99, math.ceil(100 * max(shares)) / 100)},
        {"metric": "log_loss", "max": max(0.05, math.floor(100 * entropy) / 100)},
        {"metric": "accuracy", "beats": "champion", "tolerance": 0.01},
    ]


def number_gates() -> list[dict[str, Any]]:
    """Better than always saying the mean, and no worse than the champion."""
    return [{"metric": "r2", "min": 0.05}, {"metric": "r2", "beats": "champion", "tolerance": 0.02}]


def sampling(counts: Mapping[str, int]) -> dict[str, Any]:
    """Class weights where the largest class is three times the smallest, or more."""
    return {"balance": "class_weights"} if max(counts.values()) >= 3 * min(counts.values()) else {}
