"""The project: all sections together, and what must hold between them."""

from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.spec.base import Name, Section
from tasks.core.spec.data import RESERVED, Image, Online, Sampling, Source, Split, Validation
from tasks.core.spec.features import Feature, ImageFeature, TableFeature, check_columns
from tasks.core.spec.model import Gate, Model, Training, Tuning
from tasks.core.spec.operations import Monitoring, Schedules, Serving

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
    task: Literal["image_classification", "tabular_classification", "text_classification"] = "image_classification"
    """What is predicted from what."""
    start: date
    """First partition's date: the features DAG is scheduled and backfilled from here."""
    end: date | None = None
    """Last partition's date; null: data keeps coming."""
    classes: tuple[str, ...] = Field(min_length=2)
    """Every label there is; a row with another one is quarantined."""
    source: Source
    """Where the data comes from."""
    image: Image | None = None
    """What the model sees of an image; null for tables."""
    validation: Validation = Validation()
    """What a clean row is."""
    features: tuple[Feature, ...] = Field(min_length=1)
    """Extractors whose values Feast keeps and the TFT graph normalizes."""
    online: Online = Online()
    """How features are looked up."""
    split: Split = Split()
    """Training, validation and test."""
    sampling: Sampling = Sampling()
    """How skewed classes are trained."""
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
    def _groups_are_distinct(self) -> Self:
        groups = [feature.group for feature in self.features]
        twice = sorted({group for group in groups if groups.count(group) > 1})
        if twice:
            raise ValueError(f"features: {', '.join(twice)} stands twice; give each a name of its own")
        taken = sorted(set(groups) & (RESERVED | {"known_at", "created_at", "fold", "row"}))
        if taken:
            raise ValueError(f"features: {', '.join(taken)} is a name that Updraft uses itself")
        return self

    @model_validator(mode="after")
    def _features_fit_the_source(self) -> Self:
        if self.source.has_images != (self.image is not None):
            raise ValueError("image: give its size for a source of images, and leave it out for a table")
        if self.source.has_images != (self.task == "image_classification"):
            raise ValueError(f"task {self.task} does not fit a source of format {self.source.format}")
        if self.image is None and self.model.family == "convnet":
            raise ValueError("model.family: convnet needs images; take mlp")
        types = {column.name: column.type for column in self.source.columns}
        for feature in self.features:
            if isinstance(feature, ImageFeature) != self.source.has_images:
                raise ValueError(f"features: {feature.kind} does not fit a source of format {self.source.format}")
            if isinstance(feature, TableFeature):
                check_columns(feature, types)
        return self

    def section(self, *paths: str) -> dict[str, Any]:
        """The values at dotted ``paths``, as JSON types: what a stage declares that it depends on."""
        values = self.model_dump(mode="json")
        return {path: _at(values, path) for path in paths}


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values[part]
    return values
