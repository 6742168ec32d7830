"""The spec's section about what is served: the forms a model may take to be smaller, and what runs it."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from tasks.core.spec.base import Section, Share
from tasks.core.spec.model import Model


class _Form(Section):
    tolerance: float = Field(0.0, ge=0)
    """How much worse than the model it comes from it may be, by each metric of the gates."""


class Float16(_Form):
    """Weights in half precision."""

    kind: Literal["float16"]
    """Selects this form."""


class DynamicInt8(_Form):
    """Weights in 8 bits; activations are quantized as they come."""

    kind: Literal["int8_dynamic"]
    """Selects this form."""


class Int8(_Form):
    """Weights and activations in 8 bits, the activations' ranges measured on training rows (Jacob et al., 2018)."""

    kind: Literal["int8"]
    """Selects this form."""
    rows: int = Field(256, ge=1)
    """Training rows that the ranges are measured on."""


class Pruned(_Form):
    """The smallest weights set to zero, the others trained on (Zhu and Gupta, 2017)."""

    kind: Literal["pruned"]
    """Selects this form."""
    sparsity: Share = 0.5
    """Share of the weights of each kernel that become zero."""
    epochs: int = Field(5, ge=1)
    """Of training while and after they do."""


class Distilled(_Form):
    """A smaller model that learns the candidate's answers (Hinton et al., 2015)."""

    kind: Literal["distilled"]
    """Selects this form."""
    epochs: int = Field(10, ge=1)
    """Of its training."""
    temperature: float = Field(4.0, gt=0)
    """What the logits are divided by: higher tells more of the classes that are not the likeliest."""
    weight: Share = 0.5
    """Of the candidate's answers in the loss; the labels have the rest."""
    set: dict[str, object] = Field(default_factory=dict)
    """Fields of ``model`` that differ from the candidate's: ``{family: convnet, filters: [16]}``."""

    @field_validator("set")
    @classmethod
    def _of_model(cls, value: dict[str, object]) -> dict[str, object]:
        if "start" in value:
            raise ValueError("a student starts from random weights; leave start out")
        try:
            Model.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "model"
            raise ValueError(f"{field}: {first['msg'].removeprefix('Value error, ')}") from None
        return value


Form = Annotated[Float16 | DynamicInt8 | Int8 | Pruned | Distilled, Field(discriminator="kind")]


class Packaging(Section):
    """What the model is served as."""

    forms: tuple[Form, ...] = ()
    """Smaller forms of the candidate that are made and judged too; the smallest that passes its gates is served."""
    runtimes: tuple[Literal["onnx", "litert", "saved_model"], ...] = Field(("onnx",), min_length=1)
    """What may run it; of several the quickest at one row that answers as the trained model does."""
    temperature_scaling: bool = False
    """Divide a classifier's logits by one number, so that it is as sure as it is right: fitted on validation rows."""

    @model_validator(mode="after")
    def _kinds_are_distinct(self) -> Self:
        kinds = [form.kind for form in self.forms]
        if len(set(kinds)) != len(kinds):
            raise ValueError("forms: the same kind stands twice")
        return self

    @property
    def families(self) -> set[str]:
        """Of the models that are distilled."""
        return {str(form.set["family"]) for form in self.forms if isinstance(form, Distilled) and "family" in form.set}
