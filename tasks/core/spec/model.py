"""The spec's sections about the model: architecture, training, search and gates."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.core.spec.base import Section


class Model(Section):
    """The architecture."""

    family: Literal["mlp", "convnet"] = "convnet"
    """A file of ``tasks/models/``."""
    units: tuple[int, ...] = (64,)
    """Widths of the dense layers before the head."""
    filters: tuple[int, ...] = (32, 64)
    """Channels of the convolution blocks (convnet)."""
    activation: str = "relu"
    """Any Keras activation."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Before the head."""


class Training(Section):
    """How the model is fitted."""

    ranks: int = Field(1, ge=1, le=1024)
    """Horovod ranks."""
    epochs: int = Field(10, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(32, ge=1)
    """Rows per step over all ranks together; a multiple of ``ranks``."""
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    """The update rule."""
    learning_rate: float = Field(1e-3, gt=0)
    """The step size at the start; it falls to zero along a cosine."""
    loss: Literal["sparse_categorical_crossentropy"] = "sparse_categorical_crossentropy"
    """What is minimized."""
    seed: int = 0
    """Of the initial weights, dropout and the order of rows."""
    timeout_minutes: float = Field(60, gt=0)
    """The job is ended after this long."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.batch_size % self.ranks:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of ranks {self.ranks}")
        return self


class Space(Section):
    """One dimension of the search: give ``values``, or ``low`` and ``high``."""

    low: float | None = None
    """Smallest value."""
    high: float | None = None
    """Largest value."""
    log: bool = False
    """Sample the logarithm evenly."""
    integer: bool = False
    """Whole numbers only."""
    values: tuple[bool | int | float | str | tuple[int, ...], ...] | None = None
    """The choices of a categorical dimension."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.values is None) == (self.low is None or self.high is None):
            raise ValueError("give either values, or low and high")
        if self.values is None and not self.low < self.high:  # type: ignore[operator]
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log needs low above 0")
        return self


class Tuning(Section):
    """The Optuna study."""

    trials: int = Field(6, ge=1, le=10_000)
    """How many models are tried."""
    epochs: int = Field(5, ge=1)
    """Epochs of a trial."""
    seed: int = 0
    """Of the sampler."""
    space: Mapping[str, Space] = {}
    """Field of ``model`` or ``training`` (``training.learning_rate``) to the values it may take."""


class Gate(Section):
    """One condition that a candidate must meet on the held-out split."""

    metric: Literal["accuracy", "balanced_accuracy", "log_loss"]
    """What is compared."""
    min: float | None = None
    """The candidate's value must be at least this."""
    max: float | None = None
    """The candidate's value must be at most this."""
    beats: Literal["baseline", "champion"] | None = None
    """The candidate must be better than the logistic regression, or no worse than the champion."""
    tolerance: float = Field(0.0, ge=0)
    """How much worse than the champion still passes."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(x is not None for x in (self.min, self.max, self.beats)) != 1:
            raise ValueError("give exactly one of min, max and beats")
        return self
