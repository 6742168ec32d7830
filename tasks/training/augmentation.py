"""Augmentation: training rows changed at random as they are fed. Keras' layers do the work, on numbers drawn here.

What is drawn for a batch is a pure function of (seed, epoch, step, rank), so a resumed run goes on with the same bits,
and batches may be changed beside each other.
"""

from collections.abc import Mapping

import keras
import tensorflow as tf
from keras import layers

from tasks.core.spec import Augmentation, Project
from tasks.training.batches import AHEAD
from tasks.training.mixing import Batch, mix


class Draws(keras.random.SeedGenerator):
    """The random numbers of one batch. Keras takes its seeds from here, where its own class would keep a state.

    Args:
        number: of the batch, counted over all epochs.
    """

    def __init__(self, seed: int, rank: int, number: tf.Tensor) -> None:
        # Without super().__init__(), which makes the variable of that state.
        self._batch = tf.random.fold_in(tf.constant([seed, rank], tf.int64), number)
        self._drawn = 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        """Another seed at each call, int64 (2,)."""
        self._drawn += 1
        return tf.random.fold_in(self._batch, self._drawn)


def augment(data: tf.data.Dataset, spec: Project, steps: int, first_epoch: int, rank: int) -> tf.data.Dataset:
    """The batches changed as ``spec.training.augmentation`` says; ``data`` itself, if it says nothing.

    Args:
        data: inputs, labels and weights, if any, batch by batch from the start of ``first_epoch``.
        steps: batches per epoch.

    Returns:
        Batches of the same shapes and types, images still uint8. Only labels change theirs: MixUp and CutMix make them
        float32, and those of classes (N, classes).
    """
    chosen = spec.training.augmentation
    if chosen == Augmentation():
        return data
    changes = random_layers(chosen)

    def change(number: tf.Tensor, batch: tuple) -> tuple:
        draws = Draws(spec.training.seed, rank, number)
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        if "image" in inputs:
            inputs = inputs | {"image": transform(tf.cast(inputs["image"], tf.float32), changes, draws)}
        changed: Batch = (inputs, labels, weights)
        if chosen.mixup or chosen.cutmix:
            changed = mix(changed, spec, draws)
        return keras.utils.pack_x_y_sample_weight(_as_pixels(changed[0]), *changed[1:])

    numbered = data.enumerate(first_epoch * steps)
    return numbered.map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(AHEAD)


def random_layers(chosen: Augmentation) -> list[layers.Layer]:
    """Keras' layers for what was chosen, in the order in which they are applied to images of 0 to 255."""
    flips = {"none": (), "both": ("horizontal", "vertical")}.get(chosen.flip, (chosen.flip,))
    # Their own seeds and the policy of precision have no part in this, and must not change what others draw.
    own = {"seed": 0, "dtype": "float32"}
    # One layer per direction: Keras' own "horizontal_and_vertical" turns both or neither.
    found = [layers.RandomFlip(flip, **own) for flip in flips]
    if chosen.rotation:
        found.append(layers.RandomRotation(chosen.rotation / 360, **own))
    if chosen.zoom:
        found.append(layers.RandomZoom(chosen.zoom, **own))
    if chosen.translation:
        found.append(layers.RandomTranslation(chosen.translation, chosen.translation, **own))
    if chosen.contrast:
        # A pair, since Keras takes one number to mean more contrast only.
        found.append(layers.RandomContrast((chosen.contrast, chosen.contrast), **own))
    if chosen.brightness:
        found.append(layers.RandomBrightness(chosen.brightness, **own))
    return found


def transform(images: tf.Tensor, changes: list[layers.Layer], draws: keras.random.SeedGenerator) -> tf.Tensor:
    """The images after all ``changes``, float32 (N, H, W, C)."""
    for layer in changes:
        images = layer.transform_images(images, layer.get_random_transformation(images, seed=draws))
    return images


def _as_pixels(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {
        name: tf.saturate_cast(tf.round(values), tf.uint8) if name == "image" else values
        for name, values in inputs.items()
    }
