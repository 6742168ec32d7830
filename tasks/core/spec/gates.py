"""The spec's sections about the judgement: how a candidate is measured, and which gates it has to pass."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from tasks.core.spec.base import Name, Section

ClassMetric = Literal["accuracy", "balanced_accuracy", "f1", "roc_auc", "pr_auc", "log_loss", "calibration_error"]
NumberMetric = Literal["mae", "rmse", "r2"]
Footprint = Literal["latency_ms", "batch_latency_ms", "size_mib", "memory_mib"]
ImageTest = Literal["gaussian_noise", "blur", "brightness", "rotation", "jpeg", "fgsm", "pgd"]
TableTest = Literal["missing_values", "category_shift"]


class Slice(Section):
    """Rows of the held-out split that are measured on their own."""

    name: Name
    """What gates and reports call it."""
    column: str
    """A column of the source, a dimension of a feature (``image_stats.brightness``), or ``label``."""
    values: tuple[str | float, ...] = ()
    """Rows whose value is one of these."""
    min: float | None = None
    """Rows whose value is at least this."""
    max: float | None = None
    """Rows whose value is below this."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if bool(self.values) == (self.min is not None or self.max is not None):
            raise ValueError(f"slice {self.name}: give either values, or min, max or both")
        return self


class Evaluation(Section):
    """How a candidate is measured beside the champion, on the same rows of the held-out split."""

    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of the intervals."""
    resamples: int = Field(1000, ge=100, le=100_000)
    """Of the bootstrap that they come from."""
    slices: tuple[Slice, ...] = ()
    """Groups of rows to measure on their own."""
    worst_slices: int = Field(5, ge=0, le=50)
    """How many groups are looked for beside those: the ones that the candidate does worst on."""
    slice_rows: int = Field(30, ge=1)
    """A group that is looked for has at least so many rows."""
    robustness: tuple[ImageTest | TableTest, ...] | None = None
    """Tests of disturbed inputs; null: all that the task has."""
    epsilon: float = Field(8 / 255, gt=0, lt=1)
    """How far ``fgsm`` and ``pgd`` may change a pixel, of its range."""
    rows: int = Field(500, ge=10)
    """Rows, evenly spaced, that robustness tests and explanations look at."""
    explain: bool = True
    """Whether the model card shows what the model looks at."""

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [part.name for part in self.slices]
        if len(set(names)) != len(names):
            raise ValueError("slices: the same name stands twice")
        return self


class Gate(Section):
    """One condition that a candidate must meet on the held-out split."""

    metric: ClassMetric | NumberMetric | Footprint
    """What is compared: of classes, of numbers, or of the package (see the evaluation's report)."""
    on: str | None = None
    """Where: a slice or a robustness test by name, or ``slices`` for every slice that is declared, and every one found
    that is worse than chance explains; null: the whole split."""
    min: float | None = None
    """The candidate's value must be at least this."""
    max: float | None = None
    """The candidate's value must be at most this."""
    beats: Literal["baseline", "champion"] | None = None
    """The candidate must be better than the plain linear model, or no worse than the champion, and not by chance: the
    worse end of the interval of the difference counts, over the same rows."""
    tolerance: float = Field(0.0, ge=0)
    """How much worse still passes, where it has to beat somebody; choose it by the size of the test split."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(x is not None for x in (self.min, self.max, self.beats)) != 1:
            raise ValueError("give exactly one of min, max and beats")
        if self.tolerance and not self.beats:
            raise ValueError("tolerance goes with beats alone; move min or max instead")
        if self.beats == "baseline" and (self.on or self.metric in get_args(Footprint)):
            raise ValueError("beats: baseline compares the metrics of the whole split")
        if self.on and self.metric in get_args(Footprint):
            raise ValueError(f"{self.metric} is of the package, not of {self.on}")
        return self
