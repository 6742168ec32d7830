"""The project: all sections together, and what must hold between them."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from tasks.core.spec.base import Name, Section
from tasks.core.spec.data import RESERVED, Column, Image, Online, Sampling, Source, Split, Validation
from tasks.core.spec.features import Feature, ImageFeature, Sequence, TableFeature, TextTerms, check_columns
from tasks.core.spec.gates import ClassMetric, Evaluation, Footprint, Gate, ImageTest, NumberMetric, TableTest
from tasks.core.spec.model import IMAGE_FAMILIES, TABLE_FAMILIES, Model
from tasks.core.spec.operations import Deployment, Monitoring, Schedules, Serving
from tasks.core.spec.packaging import Packaging
from tasks.core.spec.training import Augmentation, Training
from tasks.core.spec.tuning import Tuning

_ATTACKS = ("fgsm", "pgd")
"""They follow the gradient of a classification's loss."""

_DISTURBS: Mapping[str, Callable[[Column], bool]] = {
    "missing_values": lambda column: column.nullable or column.type == "text",
    "category_shift": lambda column: column.type in ("category", "boolean"),
}
"""The robustness tests of a table to the columns that they change; one that changes nothing is not made."""


class Project(Section):
    """One ML project."""

    name: Name
    """Also the file's name, the DAGs' prefix and the endpoint's path."""
    description: str = ""
    """One sentence; the DAGs' pages show it."""
    owner: str = "ml"
    """Shown as the DAGs' owner."""
    task: Literal[
        "image_classification",
        "tabular_classification",
        "text_classification",
        "image_regression",
        "tabular_regression",
        "text_regression",
    ] = "image_classification"
    """What is predicted from what."""
    start: date
    """First partition's date: the features DAG is scheduled and backfilled from here."""
    end: date | None = None
    """Last partition's date; null: data keeps coming."""
    classes: tuple[str, ...] = ()
    """Every label there is; a row with another one is quarantined. None for regression, whose labels are numbers."""
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
    evaluation: Evaluation = Evaluation()
    """How it is measured."""
    gates: tuple[Gate, ...] = Field(min_length=1)
    """All must hold before a candidate is promoted."""
    packaging: Packaging = Packaging()
    """What is served."""
    deployment: Deployment = Deployment()
    """How it goes live."""
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
    def _labels_fit_the_task(self) -> Self:
        if self.is_regression == bool(self.classes) or len(self.classes) == 1:
            raise ValueError("classes: list two or more for a classification, and none for a regression")
        if self.is_regression:
            if self.training.loss in ("cross_entropy", "focal"):
                raise ValueError(f"training.loss {self.training.loss} is for classes; take mse, mae or huber")
            if self.sampling.balance != "none" or self.training.label_smoothing:
                raise ValueError("sampling.balance and training.label_smoothing are for classes, not for a regression")
            if self.packaging.temperature_scaling:
                raise ValueError("packaging.temperature_scaling is for classes; leave it out of a regression")
        return self

    @model_validator(mode="after")
    def _gates_fit_the_task(self) -> Self:
        known = {*get_args(NumberMetric if self.is_regression else ClassMetric), *get_args(Footprint)}
        unfit = [test for test in self.evaluation.robustness or () if test not in self._possible_tests]
        if unfit:
            possible = ", ".join(self._possible_tests) or "none: []"
            raise ValueError(f"evaluation.robustness: {unfit[0]} changes nothing that {self.name} has; take {possible}")
        places = {"slices", *(part.name for part in self.evaluation.slices), *self.tests}
        for gate in self.gates:
            if gate.metric not in known:
                raise ValueError(f"gates: {gate.metric} does not measure {self.task}")
            if gate.on and gate.on not in places:
                raise ValueError(f"gates: {gate.on!r} is no slice or robustness test; take {', '.join(sorted(places))}")
        return self

    @model_validator(mode="after")
    def _slices_are_of_something(self) -> Self:
        columns = {"label", *(() if self.image else (column.name for column in self.source.columns))}
        groups = {feature.group for feature in self.features}
        for part in self.evaluation.slices:
            # Which dimensions a feature has, its extractor alone knows; the evaluation asks it.
            if part.column not in columns and part.column.partition(".")[0] not in groups:
                fix = f"take {', '.join(sorted(columns))}, or a feature and its dimension"
                raise ValueError(f"evaluation.slices: {part.name}: there is no {part.column!r}; {fix}")
            if part.name in ("slices", *self.tests):
                raise ValueError(f"evaluation.slices: {part.name} is what gates call something else; take another name")
        return self

    @model_validator(mode="after")
    def _folds_to_cross_validate(self) -> Self:
        if self.tuning.cross_validate and self.split.folds < 2:
            raise ValueError("tuning.cross_validate needs split.folds of 2 or more")
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
        if self.source.has_images != self.task.startswith("image_"):
            raise ValueError(f"task {self.task} does not fit a source of format {self.source.format}")
        self._check_families()
        types = {column.name: column.type for column in self.source.columns}
        for feature in self.features:
            if isinstance(feature, ImageFeature) != self.source.has_images:
                raise ValueError(f"features: {feature.kind} does not fit a source of format {self.source.format}")
            if isinstance(feature, TableFeature):
                check_columns(feature, types)
        return self

    @model_validator(mode="after")
    def _augmentation_fits_the_data(self) -> Self:
        words = [f.group for f in self.features if isinstance(f, TextTerms) and isinstance(f.encode, Sequence)]
        if words and self.training.augmentation.mixup:
            raise ValueError(f"training.augmentation.mixup: there is nothing between two words of {', '.join(words)}")
        plain = Augmentation(mixup=self.training.augmentation.mixup)
        if self.image is None and self.training.augmentation != plain:
            raise ValueError("training.augmentation: rows of a table have no pixels; they take mixup alone")
        return self

    def _check_families(self) -> None:
        """The family, and those that the study may choose, take what the source holds."""
        searched = self.tuning.space.get("model.family")
        families = {self.model.family, *(searched.values or () if searched else ())}
        for family in sorted({*map(str, families), *self.packaging.families}):
            known = IMAGE_FAMILIES if self.image else TABLE_FAMILIES
            if family not in known:
                raise ValueError(f"model.family: {family} is not for {self.source.format}; take {', '.join(known)}")

    @property
    def is_regression(self) -> bool:
        """Whether a number is predicted, not a class."""
        return self.task.endswith("_regression")

    @property
    def outputs(self) -> int:
        """Width of the model's output: a logit per class, or the one number."""
        return len(self.classes) or 1

    @property
    def tests(self) -> tuple[str, ...]:
        """The robustness tests that are made."""
        wanted = self.evaluation.robustness
        return self._possible_tests if wanted is None else tuple(wanted)

    @property
    def _possible_tests(self) -> tuple[str, ...]:
        if self.image is None:
            return tuple(test for test in get_args(TableTest) if any(map(_DISTURBS[test], self.source.columns)))
        return tuple(test for test in get_args(ImageTest) if not (self.is_regression and test in _ATTACKS))

    @property
    def loss(self) -> str:
        """What is minimized."""
        return self.training.loss or ("mse" if self.is_regression else "cross_entropy")

    @property
    def score(self) -> str:
        """The measure of an epoch that a study maximizes, as Keras' logs name it; ``val_`` before it on validation."""
        return "r2" if self.is_regression else "accuracy"

    def section(self, *paths: str) -> dict[str, Any]:
        """The values at dotted ``paths``, as JSON types: what a stage declares that it depends on."""
        values = self.model_dump(mode="json")
        return {path: _at(values, path) for path in paths}


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values[part]
    return values
