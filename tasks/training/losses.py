"""What is minimized, and the measure of an epoch: of logits and class numbers, of logits and shares, or of numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from tasks.core.spec import Project

Tensor = Any


def make_loss(spec: Project, **options: Any) -> keras.losses.Loss:
    """The loss of ``spec``.

    Args:
        options: of Keras' ``Loss``; ``reduction=None`` gives each row's, float32 (N,).
    """
    training = spec.training
    errors: Mapping[str, Callable[[Tensor], Tensor]] = {
        "mse": ops.square,
        "mae": ops.abs,
        "huber": lambda error: huber(error, training.huber_delta),
    }
    if spec.is_regression:
        return Loss(lambda labels, numbers: _summed(errors[spec.loss](_like(labels, numbers) - numbers)), **options)

    def over_classes(labels: Tensor, logits: Tensor) -> Tensor:
        shares = as_shares(labels, spec.outputs)
        if spec.loss in errors:
            return _summed(errors[spec.loss](shares - ops.softmax(logits)))
        smooth = training.label_smoothing
        gamma = training.focal_gamma if spec.loss == "focal" else 0.0
        return focal(shares * (1 - smooth) + smooth / spec.outputs, logits, gamma)

    return Loss(over_classes, **options)


def make_metric(spec: Project) -> keras.metrics.Metric:
    """``accuracy`` of a classification, ``r2`` of a regression: named ``spec.score``."""
    if spec.is_regression:
        return R2(spec.score)
    return keras.metrics.MeanMetricWrapper(_is_right, name=spec.score)


class Loss(keras.losses.Loss):
    """A function of labels and outputs, weighted and reduced as Keras does it; in float32 at any precision."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], **options: Any) -> None:
        super().__init__(**{"name": "loss", "dtype": "float32", **options})
        self._function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Each row's loss, float32 (N,)."""
        return self._function(y_true, y_pred)


def focal(shares: Tensor, logits: Tensor, gamma: float) -> Tensor:
    """Cross-entropy, each class times ``(1 - p) ** gamma``: Lin et al., "Focal Loss" (2017); 0 is cross-entropy itself.

    Args:
        shares: (N, classes), of which each row's sum is 1.
        logits: (N, classes).

    Returns:
        float32 (N,).
    """
    logs = ops.log_softmax(logits)
    if gamma:
        # Away from 0, where a power below 1 has no derivative.
        shares = shares * ops.power(ops.maximum(1 - ops.exp(logs), keras.config.epsilon()), gamma)
    return -_summed(shares * logs)


def huber(error: Tensor, delta: float) -> Tensor:
    """Half the square up to ``delta``, linear beyond: Huber, "Robust Estimation of a Location Parameter" (1964)."""
    size = ops.abs(error)
    return ops.where(size <= delta, ops.square(error) / 2, delta * (size - delta / 2))


def as_shares(labels: Tensor, classes: int) -> Tensor:
    """Class numbers (N,) as one-hot rows (N, classes); rows that are shares already, as they are."""
    if len(labels.shape) == 2:
        return labels
    return ops.one_hot(ops.cast(labels, "int32"), classes)


class R2(keras.metrics.Metric):
    """Share of the labels' variance that is explained. All its state is sums, so that of ranks can be added up."""

    def __init__(self, name: str = "r2") -> None:
        super().__init__(name=name, dtype="float32")
        names = ("count", "total", "squares", "residual")
        self._sums = [self.add_variable((), "zeros", name=name) for name in names]

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds rows: labels (N,) or (N, 1), numbers (N, 1), weights (N,)."""
        numbers = ops.cast(y_pred, "float32")
        labels = _like(ops.cast(y_true, "float32"), numbers)
        weights = ops.ones_like(labels) if sample_weight is None else _like(sample_weight, labels)
        parts = (weights, weights * labels, weights * labels**2, weights * (labels - numbers) ** 2)
        for variable, part in zip(self._sums, parts, strict=True):
            variable.assign_add(ops.sum(part))

    def result(self) -> Tensor:
        """At most 1; 0 is what the labels' mean would have, or labels that are all the same."""
        count, total, squares, residual = (variable.value for variable in self._sums)
        variance = squares - ops.divide_no_nan(total**2, count)
        return ops.where(variance > 0, 1 - ops.divide_no_nan(residual, variance), 0.0)


def _is_right(labels: Tensor, logits: Tensor) -> Tensor:
    expected = ops.argmax(labels, axis=-1) if len(labels.shape) == 2 else labels
    return ops.cast(ops.equal(ops.cast(expected, "int32"), ops.cast(ops.argmax(logits, axis=-1), "int32")), "float32")


def _like(values: Tensor, other: Tensor) -> Tensor:
    return ops.reshape(values, ops.shape(other))


def _summed(values: Tensor) -> Tensor:
    return ops.sum(values, axis=-1)
