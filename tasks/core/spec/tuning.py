"""The spec's section about the search: sampler, pruner, budget and space."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo

from tasks.core.spec.base import Section
from tasks.core.spec.model import Model
from tasks.core.spec.training import Training

Value = bool | int | float | str | tuple[int, ...]

_NOT_TRIED = frozenset(
    {
        *("model.start", "training.ranks", "training.epochs", "training.ensemble", "training.checkpoints"),
        *("training.sync_every", "training.compress", "training.scale_rate"),
        *("training.timeout_minutes", "training.stall_minutes"),
    }
)
"""A trial runs alone, for ``tuning.epochs`` epochs."""


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
    step: float | None = Field(None, gt=0)
    """Multiples of this above ``low`` only; a grid needs it."""
    values: tuple[Value, ...] | None = Field(None, min_length=1)
    """The choices of a categorical dimension."""
    when: Mapping[str, tuple[Value, ...]] = {}
    """Conditional: other field of the space to the values under which this one is searched; otherwise it keeps the
    spec's own value."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.values is None) == (self.low is None or self.high is None):
            raise ValueError("give either values, or low and high")
        if self.values is None and not self.low < self.high:  # type: ignore[operator]
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log needs low above 0")
        if self.step is not None and (self.log or self.values is not None):
            raise ValueError("step goes with low and high, and not with log")
        return self


class Tuning(Section):
    """The Optuna study."""

    sampler: Literal["grid", "random", "tpe", "cmaes", "nsga2"] = "tpe"
    """``nsga2`` looks for the Pareto front of ``objectives``; the others maximize the validation score."""
    pruner: Literal["none", "median", "asha", "hyperband"] = "none"
    """Ends trials early that do worse than others did after as many epochs."""
    objectives: tuple[Literal["score", "latency", "size"], ...] = ("score",)
    """Of nsga2: the validation score, milliseconds per row, and the number of weights."""
    trials: int = Field(6, ge=1, le=10_000)
    """How many models are tried, over all workers."""
    minutes: float | None = Field(None, gt=0)
    """No trial starts after this long; null: no limit."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that run trials side by side: mapped Airflow tasks."""
    epochs: int = Field(5, ge=1)
    """Epochs of a trial."""
    cross_validate: bool = False
    """A trial's score is its mean over ``split.folds`` models, each judged on the fold that it has not seen."""
    retune_every: float | None = Field(None, ge=0)
    """Days for which the last study's best parameters are used again; null: each new dataset is searched anew."""
    seed: int = 0
    """Of the sampler."""
    space: Mapping[str, Space] = {}
    """Dotted field of ``model`` or ``training`` (``training.augmentation.rotation``) to the values it may take."""

    @model_validator(mode="after")
    def _objectives(self) -> Self:
        if len(set(self.objectives)) != len(self.objectives) or "score" not in self.objectives:
            raise ValueError("objectives: score, and beside it latency, size or both, each once")
        if (self.sampler == "nsga2") != (len(self.objectives) > 1):
            raise ValueError("sampler nsga2 takes two objectives or three, the others one")
        if self.sampler == "nsga2" and self.pruner != "none":
            raise ValueError("a study of several objectives cannot prune: set pruner none")
        return self

    @model_validator(mode="after")
    def _space_names_fields(self) -> Self:
        for path, space in self.space.items():
            tried = path in _FIELDS and not any(f"{path}.".startswith(f"{field}.") for field in _NOT_TRIED)
            if not tried:
                raise ValueError(f"space: {path!r} is no field of model or training that a trial can vary")
            _check_values(path, space)
        return self

    @model_validator(mode="after")
    def _space_fits_the_sampler(self) -> Self:
        for path, space in self.space.items():
            if self.sampler == "grid" and space.values is None and space.step is None and not space.integer:
                raise ValueError(f"space.{path}: a grid needs values, a step, or integer")
            for other, values in space.when.items():
                parent = self.space.get(other)
                if parent is None or other == path:
                    raise ValueError(f"space.{path}.when: {other!r} is not in the space")
                unknown = [value for value in values if parent.values is not None and value not in parent.values]
                if parent.values is None or unknown:
                    raise ValueError(f"space.{path}.when: {other} takes none of {[*values]}")
        return self


def _fields(section: type[Section], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        yield f"{prefix}.{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _fields(field.annotation, f"{prefix}.{name}")


_FIELDS = dict([*_fields(Model, "model"), *_fields(Training, "training")])
"""Dotted path to field."""


def _check_values(path: str, space: Space) -> None:
    """Each value that a study may choose is one that the field takes."""
    field = _FIELDS[path]
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    whole = int if space.integer else float
    bounds = [whole(bound) for bound in (space.low, space.high) if bound is not None]
    for value in space.values or bounds:
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"space: {path} does not take {value!r}: {reason}") from None
