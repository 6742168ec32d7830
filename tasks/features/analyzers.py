"""What the transform graph is fitted by: statistics of the training split, as Beam combiners over NumPy batches.

The same rows give the same bits on every Beam runner, in whatever order it merges its bundles: sums are kept as whole
numbers (see `exact`), extremes, counts and samples do not depend on order.
"""

import functools
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

UNIT = 400
"""Sums are kept in units of 2**-400: the product of two float32 is a multiple of 2**-298, so nothing is cut off."""


class Statistic(beam.CombineFn):
    """A statistic of all batches: what one batch tells, how two tellings add up, and what they come to."""

    outputs: Sequence[tuple[tf.DType, list[int | None]]]
    """Type and shape of each of its results; a size that the data decides is None."""

    @abstractmethod
    def of(self, batch: tuple[np.ndarray, ...]) -> Any:
        """What one batch of the inputs tells."""

    @abstractmethod
    def plus(self, one: Any, other: Any) -> Any:
        """What both tell together; may reuse ``one``."""

    @abstractmethod
    def result(self, told: Any) -> tuple[Any, ...]:
        """As many arrays as ``outputs`` has."""

    def create_accumulator(self) -> Any:
        """See `beam.CombineFn`."""
        return None

    def add_input(self, accumulator: Any, batch: tuple[np.ndarray, ...]) -> Any:
        """See `beam.CombineFn`."""
        return self.merge_accumulators([accumulator, self.of(batch)])

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        """See `beam.CombineFn`."""
        told = [each for each in accumulators if each is not None]
        return functools.reduce(self.plus, told) if told else None

    def extract_output(self, accumulator: Any) -> tuple[Any, ...]:
        """See `beam.CombineFn`."""
        return self.result(accumulator)


class _Analysis(beam.PTransform):
    """A statistic as `tft.experimental.ptransform_analyzer` takes it."""

    def __init__(self, statistic: Statistic) -> None:
        super().__init__()
        self.statistic = statistic

    def expand(self, batches: beam.PCollection):  # type: ignore[no-untyped-def]
        results = batches | beam.CombineGlobally(self.statistic)
        count = len(self.statistic.outputs)
        return tuple(results | f"Output{n}" >> beam.Map(lambda found, n: found[n], n) for n in range(count))


def analyze(statistic: Statistic, *inputs: tf.Tensor) -> list[tf.Tensor]:
    """The statistic's results over the whole training split, as constants of the graph.

    Each is static (`tf.get_static_value`) in the graph that is saved in the end, and not before.
    """
    types, shapes = zip(*statistic.outputs, strict=True)
    found = tft.experimental.ptransform_analyzer(inputs, _Analysis(statistic), types, shapes)
    values = [tf.get_static_value(tensor) for tensor in found]
    return [tensor if value is None else tf.constant(value) for tensor, value in zip(found, values, strict=True)]


def exact(values: np.ndarray) -> np.ndarray:
    """Sums of products of float32 as Python's whole numbers in units of 2**-`UNIT`: adding them rounds nothing."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    return (mantissa * 2.0**53).astype(np.int64).astype(object) << (exponent + (UNIT - 53)).astype(object)
