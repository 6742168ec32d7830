"""The project spec: what to build, as values, checked before anything runs.

Every model is frozen and refuses unknown keys. The sentence under a field is what the JSON schema and ``docs/`` show.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.core.settings import settings

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the spec: frozen, and no key that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(Section):
    """Where labelled data comes from."""

    uri: str
    """A folder holding ``date=YYYY-MM-DD/`` partitions; a relative one stands under UPDRAFT_HOME."""
    format: Literal["images"] = "images"
    """``images``: image files beside a labels file."""
    labels: str = "labels.csv"
    """The labels file inside each partition (CSV with a header)."""
    entity: Name = "id"
    """The labels file's column that names the labelled thing."""
    image: Name = "image"
    """Its column with the image's path, relative to the partition."""
    label: Name = "label"
    """Its column with the label."""
    event_time: Name = "event_time"
    """Its column with the time of the event (ISO 8601)."""
    sample: str | None = None
    """Name of a data set that ships with Updraft and is landed at ``uri`` when nothing is there."""

    @property
    def folder(self) -> Path:
        """The source's folder on this machine, absolute."""
        return settings().home / Path(self.uri).expanduser()


class Image(Section):
    """The tensor that images become, the same in training and serving."""

    height: int = Field(gt=0, le=4096)
    """Pixels."""
    width: int = Field(gt=0, le=4096)
    """Pixels."""
    channels: Literal[1, 3] = 1
    """1: luminance; 3: RGB."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels


class ColumnRange(Section):
    """Bounds of a column that ingestion measures."""

    column: Literal["width", "height", "bytes"]
    """Width and height in pixels, or the file's size in bytes."""
    min: float
    """Smallest value accepted."""
    max: float
    """Largest value accepted."""


class Validation(Section):
    """What a clean row is, and how many bad ones a partition may hold."""

    tolerated: Share = 0.05
    """Share of a partition's rows that may be quarantined; past it the partition fails."""
    ranges: tuple[ColumnRange, ...] = ()
    """Bounds beside the rules that always hold (file present and whole, label known, no duplicate)."""


class ImageStats(Section):
    """Brightness, contrast, sharpness, entropy and ink share of an image."""

    kind: Literal["image_stats"]
    """Selects this extractor."""


class Hog(Section):
    """Histogram of oriented gradients (Dalal and Triggs, 2005)."""

    kind: Literal["hog"]
    """Selects this extractor."""
    orientations: int = Field(9, ge=2, le=36)
    """Bins of unsigned gradient direction."""
    cell: int = Field(8, ge=2)
    """Side of a square cell, in pixels."""
    block: int = Field(1, ge=1)
    """Side of a normalization block, in cells."""


Feature = Annotated[ImageStats | Hog, Field(discriminator="kind")]


class Split(Section):
    """How entities are shared out; an entity stays where its digest puts it, whatever else arrives."""

    train: Share = 0.7
    """Fits the transform and the model."""
    validation: Share = 0.1
    """Judges trials and stops training."""
    test: Share = 0.2
    """Seen by evaluation alone."""
    seed: int = 0
    """Another seed, another split."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, not {self.train + self.validation + self.test:g}")
        if min(self.train, self.validation, self.test) <= 0:
            raise ValueError("train, validation and test must each be above 0")
        return self


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


class Serving(Section):
    """The project's endpoint."""

    top_k: int = Field(3, ge=1)
    """Labels listed with their probabilities."""
    max_body_kib: int = Field(4096, ge=1)
    """Largest request body, KiB."""
    max_pixels: int = Field(16_000_000, ge=1)
    """Largest image accepted, in pixels."""


class Monitoring(Section):
    """When the live requests count as drifted."""

    psi: float = Field(0.2, gt=0)
    """Population stability index of a feature above which it has drifted."""
    min_requests: int = Field(100, ge=1)
    """Fewer logged requests than this are not judged."""


class Schedules(Section):
    """Cron expressions or Airflow presets; null: only by hand or by an event."""

    features: str | None = "@daily"
    """Of ``<project>_features``."""
    train: str | None = None
    """Of ``<project>_train``."""
    monitor: str | None = "@hourly"
    """Of ``<project>_monitor``."""


_NOT_TRIED = {"ranks", "epochs", "timeout_minutes"}
"""A trial runs alone, for ``tuning.epochs`` epochs."""


class Project(Section):
    """One ML project."""

    name: Name
    """Also the file's name, the DAGs' prefix and the endpoint's path."""
    description: str = ""
    """One sentence; the DAGs' pages show it."""
    owner: str = "ml"
    """Shown as the DAGs' owner."""
    task: Literal["image_classification"] = "image_classification"
    """What is predicted from what."""
    start: date
    """First partition's date: the features DAG is scheduled and backfilled from here."""
    end: date | None = None
    """Last partition's date; null: data keeps coming."""
    classes: tuple[str, ...] = Field(min_length=2)
    """Every label there is; a row with another one is quarantined."""
    source: Source
    """Where the data comes from."""
    image: Image
    """What the model sees."""
    validation: Validation = Validation()
    """What a clean row is."""
    features: tuple[Feature, ...] = Field(min_length=1)
    """Extractors whose values Feast keeps and the TFT graph normalizes."""
    split: Split = Split()
    """Training, validation and test."""
    model: Model = Model()
    """What is trained."""
    training: Training = Training()
    """How it is fitted."""
    tuning: Tuning = Tuning()
    """How the best model is searched."""
    gates: tuple[Gate, ...] = Field(min_length=1)
    """All must hold before a candidate is promoted."""
    serving: Serving = Serving()
    """The endpoint's limits."""
    monitoring: Monitoring = Monitoring()
    """When requests count as drifted."""
    schedules: Schedules = Schedules()
    """When the DAGs run."""

    @field_validator("classes")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("the same class is listed twice")
        return value

    @model_validator(mode="after")
    def _start_before_end(self) -> Self:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        return self

    @model_validator(mode="after")
    def _search_space_names_fields(self) -> Self:
        for path in self.tuning.space:
            section, _, field = path.partition(".")
            known = {"model": set(Model.model_fields), "training": set(Training.model_fields) - _NOT_TRIED}
            if field not in known.get(section, ()):
                raise ValueError(f"tuning.space: {path!r} is no field of model or training that a trial can vary")
        return self

    @model_validator(mode="after")
    def _one_column_per_feature(self) -> Self:
        kinds = [feature.kind for feature in self.features]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"features: a kind may stand once; given: {', '.join(kinds)}")
        return self

    def section(self, *paths: str) -> dict[str, Any]:
        """The values at dotted ``paths``, as JSON types: what a stage declares that it depends on."""
        values = self.model_dump(mode="json")
        return {path: _at(values, path) for path in paths}


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values[part]
    return values
