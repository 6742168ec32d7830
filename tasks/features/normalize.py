"""The transform graph: every feature group normalized or encoded as the spec says, side by side in one tensor.

The numeric part is made of operations that ONNX has, too. Constants come from `tasks.features.analyzers`; how wide
the encodings are is known once they stand, so the tracing before has stand-ins of other widths.
"""

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tasks.core.layout import Layout
from tasks.core.spec import (
    L2,
    Bucketize,
    Categorical,
    Crossed,
    DateParts,
    Feature,
    MinMax,
    Numeric,
    NumericGroup,
    Pca,
    Sift,
    TextStats,
    TextTerms,
    ZScore,
)
from tasks.features.analyzers import analyze
from tasks.features.codebook import Codebook
from tasks.features.encode import Block, encode_columns, encode_terms
from tasks.features.numeric_statistics import Components, Moments, Quantiles
from tasks.runtime.image_features import DESCRIPTOR

OUTPUT = "features"
"""The graph's one output: all groups, normalized and side by side, float32 of shape (N, D)."""

FLAT = 1e-5
"""A column whose standard deviation is below this share of its mean is constant but for float32's rounding: dividing by
such a deviation would turn the first new value into millions."""

TINY = 1e-12
"""The least length that a vector is divided by."""

_DIMENSIONS = "dimensions"

Tensors = Mapping[str, tf.Tensor]


def normalize(features: Sequence[Feature], names: Mapping[str, Sequence[str]]) -> Callable[[Tensors], Tensors]:
    """The preprocessing function of TensorFlow Transform for the spec's features.

    What the output's D dimensions are stands in the graph as a constant, see `dimensions_of`.

    Args:
        names: feature group to the names of its raw dimensions.

    Returns:
        A function of feature group to float32 or string (N, F), giving `OUTPUT`.
    """

    def preprocess(inputs: Tensors) -> Tensors:
        blocks = {**_numeric(features, inputs, names), **_encoded(features, inputs, names)}
        ordered = {feature.group: blocks[feature.group] for feature in features}
        listed = [f"{group}.{name}" for group, block in ordered.items() for name in block.names]
        layout = Layout.beside({group: block.layout for group, block in ordered.items()})
        described = json.dumps({"names": listed, "slices": layout.as_json()})
        # What the output does not depend on is not saved.
        with tf.control_dependencies([tf.constant(described, name=_DIMENSIONS)]):
            return {OUTPUT: tf.concat([block.values for block in ordered.values()], axis=1)}

    return preprocess


def dimensions_of(graph: tf.Graph) -> tuple[list[str], Layout]:
    """The names of the output's D dimensions (``group.dimension``), and their layout, from the graph of a saved
    transform function."""
    described = json.loads(graph.get_operation_by_name(_DIMENSIONS).get_attr("value").string_val[0])
    return described["names"], Layout.of_json(described["slices"])


def _encoded(features: Sequence[Feature], inputs: Tensors, names: Mapping[str, Sequence[str]]) -> dict[str, Block]:
    columns = [feature for feature in features if isinstance(feature, Categorical | Crossed)]
    texts = [feature for feature in features if isinstance(feature, TextTerms)]
    blocks = {feature.group: encode_terms(feature, inputs[feature.group]) for feature in texts}
    return blocks | encode_columns(columns, inputs, names)


def _numeric(features: Sequence[Feature], inputs: Tensors, names: Mapping[str, Sequence[str]]) -> dict[str, Block]:
    groups = [feature for feature in features if isinstance(feature, NumericGroup)]
    words = [feature for feature in features if isinstance(feature, Sift)]
    blocks = {feature.group: _visual_words(feature, inputs[feature.group]) for feature in words}
    measured = [f for f in groups if _can_miss(f) or isinstance(f.normalize, ZScore | MinMax)]
    moments = _moments(measured, inputs, names) if measured else {}
    return blocks | {f.group: _scaled(f, inputs[f.group], moments.get(f.group), names[f.group]) for f in groups}


def _can_miss(feature: NumericGroup) -> bool:
    return isinstance(feature, Numeric | DateParts | TextStats)


def _moments(
    groups: Sequence[NumericGroup], inputs: Tensors, names: Mapping[str, Sequence[str]]
) -> dict[str, tf.Tensor]:
    """Mean, deviation, least and greatest value of each group's columns: float32 (4, F)."""
    # Beam's cost is that of the number of analyzers, not of columns: all columns stand side by side in one.
    (found,) = analyze(Moments(), tf.concat([inputs[f.group] for f in groups], axis=1))
    each = tf.split(tf.cast(found, tf.float32), [len(names[f.group]) for f in groups], axis=1)
    return {feature.group: moments for feature, moments in zip(groups, each, strict=True)}


def _scaled(feature: NumericGroup, values: tf.Tensor, moments: tf.Tensor | None, names: Sequence[str]) -> Block:
    """One group, missing values (NaN) taken for the mean."""
    known, can_miss = values, _can_miss(feature)
    if moments is not None:
        mean, deviation, low, high = tf.unstack(moments)
        varies = deviation > FLAT * tf.abs(mean)
        known = tf.where(tf.math.is_nan(values), mean, values) if can_miss else values
    match feature.normalize:
        case ZScore():
            return _numbers((known - mean) / tf.where(varies, deviation, 1.0), names)
        case MinMax():
            return _numbers((known - low) / tf.where(varies, high - low, 1.0), names)
        case L2():
            length = tf.sqrt(tf.reduce_sum(known * known, axis=1, keepdims=True))
            return _numbers(known / tf.maximum(length, TINY), names)
        case Pca(components=count):
            centre, directions = analyze(Components(len(names), count, can_miss), values)
            return _numbers(tf.matmul(known - centre, directions), [f"component_{n}" for n in range(count)])
        case Bucketize(buckets=count):
            return _buckets(known, analyze(Quantiles(count), values)[0], names)
        case _:
            return _numbers(known, names)


def _numbers(values: tf.Tensor, names: Sequence[str]) -> Block:
    return Block(values, names, Layout.one("number", len(names)))


def _buckets(values: tf.Tensor, boundaries: tf.Tensor, names: Sequence[str]) -> Block:
    """One-hot of the bucket that each column's value is in; comparisons alone, which ONNX has."""
    edge = tf.fill((len(names), 1), np.float32(np.inf))
    least, below = tf.concat([-edge, boundaries], axis=1), tf.concat([boundaries, edge], axis=1)
    within = tf.logical_and(values[:, :, None] >= least, values[:, :, None] < below)
    count = boundaries.shape[1] + 1
    labels = [f"{name}.bucket_{n}" for name in names for n in range(count)]
    layout = Layout.beside({name: Layout.one("category", count) for name in names})
    return Block(tf.reshape(tf.cast(within, tf.float32), (-1, len(labels))), labels, layout)


def _visual_words(feature: Sift, values: tf.Tensor) -> Block:
    """Histogram of the words nearest to an image's descriptors; shares, or zeros for an image without any."""
    (words,) = analyze(Codebook(feature.words, DESCRIPTOR), values)
    descriptors = tf.reshape(values, (-1, feature.keypoints, DESCRIPTOR))
    distance = tf.reduce_sum(words * words, axis=1) - 2 * tf.matmul(descriptors, words, transpose_b=True)
    present = tf.cast(descriptors[:, :, :1] >= 0, tf.float32)
    votes = tf.reduce_sum(present * tf.one_hot(tf.argmin(distance, axis=2), feature.words), axis=1)
    shares = votes / tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
    return _numbers(shares, [f"word_{n}" for n in range(feature.words)])
