"""Rows blended with each other: MixUp and CutMix. Which rows, and how much, is drawn anew for every row of a batch."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tasks.core.spec import Project

Batch = tuple[Mapping[str, tf.Tensor], tf.Tensor, tf.Tensor | None]
"""The model's inputs by name, labels, and weights in the loss, float32 (N,), if there are any."""


def mix(batch: Batch, spec: Project, draws: keras.random.SeedGenerator) -> Batch:
    """Each row with a share of another row of its batch, by MixUp or CutMix; with both, by one of them for all rows.

    Args:
        batch: images in float32; labels int32 (N,), or of a regression float32 (N,).
        draws: what is random.

    Returns:
        The batch, labels as float32: (N, classes), rows that sum to 1, or of a regression (N,). Labels are mixed in
        proportion to their rows' weights as well, so that the loss stays the weighted sum over what was mixed.
    """
    inputs, labels, weights = batch
    rows = tf.shape(labels)[0]
    kept = _kept(inputs, rows, spec, draws)
    partners = tf.argsort(keras.random.uniform((rows,), seed=draws))
    own = tf.reduce_mean(kept, [1, 2, 3])
    other = 1 - own
    mixed = {
        name: _blend(values, partners, kept if name == "image" else own[:, None]) for name, values in inputs.items()
    }
    if not spec.is_regression:
        labels = tf.one_hot(labels, spec.outputs)
    if weights is None:
        return mixed, _blend(labels, partners, _like(own, labels)), None
    own, other = own * weights, other * tf.gather(weights, partners)
    total = own + other
    return mixed, _blend(labels, partners, _like(tf.math.divide_no_nan(own, total), labels)), total


def _kept(
    inputs: Mapping[str, tf.Tensor], rows: tf.Tensor, spec: Project, draws: keras.random.SeedGenerator
) -> tf.Tensor:
    """How much of its own value each pixel keeps, 0 to 1, float32 (N, H, W, 1), or (N, 1, 1, 1) for all of the row."""
    chosen = spec.training.augmentation
    if not chosen.cutmix:
        return mixup(rows, chosen.mixup, draws)
    height, width, _ = inputs["image"].shape[1:]
    cut = cutmix(rows, height, width, chosen.cutmix, draws)
    if not chosen.mixup:
        return cut
    return tf.where(keras.random.uniform((), seed=draws) < 0.5, mixup(rows, chosen.mixup, draws), cut)


def mixup(rows: tf.Tensor, alpha: float, draws: keras.random.SeedGenerator) -> tf.Tensor:
    """Each row's own share, float32 (N, 1, 1, 1): Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018)."""
    share = keras.random.beta((rows,), alpha, alpha, seed=draws)
    # Of a small alpha nearly all shares are 0 or 1, and float32 cannot tell how nearly.
    return tf.where(tf.math.is_nan(share), 1.0, share)[:, None, None, None]


def cutmix(rows: tf.Tensor, height: int, width: int, alpha: float, draws: keras.random.SeedGenerator) -> tf.Tensor:
    """Each row's own pixels, float32 (N, H, W, 1) of 0 and 1: Yun et al., "CutMix" (2019).

    A box is cut out around a random point; what of it lies beyond the border is lost, so its share of the pixels, not
    what was drawn, is the other label's.
    """
    side = tf.sqrt(1 - mixup(rows, alpha, draws))
    y = keras.random.randint((rows, 1, 1, 1), 0, height, seed=draws)
    x = keras.random.randint((rows, 1, 1, 1), 0, width, seed=draws)
    inside = _within(tf.range(height)[:, None, None], y, side * height)
    return 1 - tf.cast(inside & _within(tf.range(width)[None, :, None], x, side * width), tf.float32)


def _within(places: tf.Tensor, center: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    half = tf.cast(length, tf.int32) // 2
    return (places >= center - half) & (places < center + half)


def _blend(values: tf.Tensor, partners: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    return own * values + (1 - own) * tf.gather(values, partners)


def _like(shares: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return shares if labels.shape.rank == 1 else shares[:, None]
