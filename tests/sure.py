"""Classifiers that are surer of themselves than they are right, or less."""

import numpy as np


def sampled(rows: int, seed: int, sharper: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities, and those of a model whose logits are ``sharper`` times theirs."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (rows, 4))
    true = _softmax(logits)
    labels = (true.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1)
    return labels, _softmax(logits * sharper)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares
