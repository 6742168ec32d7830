"""The spec's section about the gates."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.core.spec.base import Section


class Gate(Section):
    """One condition that a candidate must meet on the held-out split."""

    metric: Literal["accuracy", "balanced_accuracy", "log_loss", "mae", "rmse", "r2"]
    """What is compared: the first three for classes, the others for numbers."""
    min: float | None = None
    """The candidate's value must be at least this."""
    max: float | None = None
    """The candidate's value must be at most this."""
    beats: Literal["baseline", "champion"] | None = None
    """The candidate must be better than the plain linear model, or no worse than the champion."""
    tolerance: float = Field(0.0, ge=0)
    """How much worse than the champion still passes."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(x is not None for x in (self.min, self.max, self.beats)) != 1:
            raise ValueError("give exactly one of min, max and beats")
        return self
