"""The spec's section about the model: which architecture, and what it starts from."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.core.spec.base import Name, Section

ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
    *("leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink"),
    *("softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink"),
)
"""Keras' elementwise activations; named here since nothing in ``tasks.core`` imports Keras."""


def _known(name: str) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(f"there is no activation {name!r}; use one of {', '.join(ACTIVATIONS)}")
    return name


Activation = Annotated[str, AfterValidator(_known)]


TABLE_FAMILIES = ("mlp", "wide_and_deep", "lstm", "gru", "transformer")
IMAGE_FAMILIES = (
    *("mlp", "convnet", "alexnet", "vgg", "resnet", "mobilenet", "efficientnet"),
    *("lstm", "gru", "vit"),  # a recurrent network reads an image line by line
)


class Start(Section):
    """Transfer learning: where the first weights come from, layer by layer where name and shape agree."""

    version: int | Literal["champion"] | None = None
    """A registered version of ``project``."""
    project: Name | None = None
    """Whose version; null: this project's own."""
    weights: str | None = None
    """A weights file (``.keras``, ``.weights.h5``); relative to UPDRAFT_HOME."""
    frozen_epochs: int = Field(0, ge=0)
    """For so many epochs only the layers that did not start from there are trained; then all are."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.version is None) == (self.weights is None):
            raise ValueError("give either version or weights")
        if self.weights is not None and self.project is not None:
            raise ValueError("project goes with version, not with weights")
        return self


class Model(Section):
    """The architecture. One section for all families, so that a study can search over the family, too."""

    family: Literal[
        "mlp",
        "wide_and_deep",
        "convnet",
        "alexnet",
        "vgg",
        "resnet",
        "mobilenet",
        "efficientnet",
        "lstm",
        "gru",
        "transformer",
        "vit",
    ] = "convnet"
    """A file of ``tasks/models/``."""
    units: tuple[int, ...] = (64,)
    """Widths of the dense layers before the head."""
    filters: tuple[int, ...] = (32, 64)
    """Channels of the convolution stages (convnet, vgg, resnet)."""
    depth: int = Field(1, ge=1, le=48)
    """Blocks per stage (vgg, resnet); layers (lstm, gru, transformer, vit)."""
    width: int = Field(64, ge=2)
    """Of embeddings and tokens (wide_and_deep, transformer, vit), and of recurrent states (lstm, gru)."""
    heads: int = Field(4, ge=1)
    """Of attention (transformer, vit); they share ``width``."""
    patch: int = Field(4, ge=1)
    """Side of a square patch, in pixels (vit)."""
    scale: float = Field(1.0, gt=0, le=4)
    """Multiplies the channels (alexnet, mobilenet, efficientnet)."""
    activation: Activation = "relu"
    """Any elementwise activation of Keras; mobilenet and efficientnet keep their own inside."""
    normalization: Literal["none", "batch", "layer", "group"] | None = None
    """After each layer; null: what the family was published with."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Before the head, and inside blocks where the family was published with it."""
    l1: float = Field(0.0, ge=0)
    """Penalty on the absolute values of kernels; with ``l2``, the elastic one."""
    l2: float = Field(0.0, ge=0)
    """Penalty on the squares of kernels."""
    start: Start | None = None
    """Transfer learning; null: random weights."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.family in ("transformer", "vit") and self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self
