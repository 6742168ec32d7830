"""The spec's section about fitting: optimizer, schedule, loss, regularization, augmentation, ranks, checkpoints."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.core.spec.base import Section, Share


class Schedule(Section):
    """The learning rate over time, counted in optimizer steps."""

    kind: Literal["constant", "step", "exponential", "cosine", "cosine_warmup", "plateau"] = "cosine"
    """``cosine``: falls to zero (Loshchilov and Hutter, 2017); ``cosine_warmup``: rises first (Goyal et al., 2017);
    ``step``: times ``factor`` every ``every`` epochs; ``exponential``: the same, a little each step;
    ``plateau``: times ``factor`` when the validation loss has not fallen for ``every`` epochs."""
    factor: float = Field(0.1, gt=0, lt=1)
    """Of step, exponential and plateau."""
    every: int = Field(10, ge=1)
    """Epochs."""
    warmup: float = Field(1.0, ge=0)
    """Epochs (cosine_warmup)."""


class Augmentation(Section):
    """What changes the training rows, anew in each epoch; images only, but for MixUp."""

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    """Mirrors half of the images."""
    rotation: float = Field(0.0, ge=0, le=180)
    """Degrees, either way."""
    zoom: float = Field(0.0, ge=0, lt=1)
    """Share of the size, either way."""
    translation: float = Field(0.0, ge=0, lt=1)
    """Share of the size, either way."""
    contrast: float = Field(0.0, ge=0, lt=1)
    """Share, either way."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Share of white, either way."""
    mixup: float = Field(0.0, ge=0)
    """Alpha of MixUp (Zhang et al., 2018); 0: none."""
    cutmix: float = Field(0.0, ge=0)
    """Alpha of CutMix (Yun et al., 2019); 0: none. With both, each batch takes one of them by chance."""


class EarlyStopping(Section):
    """Ends training when the validation loss no longer falls."""

    patience: int = Field(5, ge=1)
    """Epochs without a lower loss."""
    min_delta: float = Field(0.0, ge=0)
    """What counts as lower."""
    restore_best: bool = True
    """Keep the weights of the best epoch, not the last."""


class Checkpoints(Section):
    """How often training is saved, and how much of that stays."""

    every: int = Field(1, ge=1)
    """Epochs from one to the next."""
    keep: int = Field(1, ge=1)
    """The newest so many stay."""


class Training(Section):
    """How the model is fitted."""

    ranks: int = Field(1, ge=1, le=1024)
    """Horovod ranks."""
    epochs: int = Field(10, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(32, ge=1)
    """Rows per step over all ranks together; a multiple of ``ranks``."""
    optimizer: Literal["sgd", "momentum", "adam", "adamw", "lion", "rmsprop", "adagrad"] = "adam"
    """The update rule."""
    learning_rate: float = Field(1e-3, gt=0)
    """The step size, which the schedule changes."""
    scale_rate: Literal["none", "linear", "square_root"] = "none"
    """Times the ranks (Goyal et al., 2017), or their root: for a batch_size that grows with them."""
    schedule: Schedule = Schedule()
    """The step size over time."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of ``optimizer: momentum``."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled (Loshchilov and Hutter, 2019); not of biases and normalization."""
    clip_norm: float | None = Field(None, gt=0)
    """Gradients are scaled down to this global norm."""
    accumulate: int = Field(1, ge=1)
    """Steps whose gradients are averaged before one update."""
    loss: Literal["cross_entropy", "focal", "mse", "mae", "huber"] | None = None
    """What is minimized; null: cross_entropy for classes, mse for numbers. Over classes, mse, mae and huber compare
    probabilities with the one-hot label (Brier, 1950)."""
    label_smoothing: Share = 0.0
    """Share of the label spread over all classes (Szegedy et al., 2016)."""
    focal_gamma: float = Field(2.0, ge=0)
    """How little well-predicted rows count (Lin et al., 2017)."""
    huber_delta: float = Field(1.0, gt=0)
    """Where the loss turns from square to linear."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Of computation; weights stay float32. float16 scales the loss."""
    xla: bool = False
    """Compile the model with XLA."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Momentum of an average of the weights over steps, which becomes the model (Polyak and Juditsky, 1992)."""
    augmentation: Augmentation = Augmentation()
    """What changes the training rows."""
    early_stopping: EarlyStopping | None = None
    """When to end early; null: never."""
    sync_every: int = Field(1, ge=1)
    """1: ranks average gradients at each step; k: each trains alone, weights are averaged every k steps (local SGD)."""
    compress: bool = False
    """Send gradients as float16."""
    checkpoints: Checkpoints = Checkpoints()
    """What a retry goes on from."""
    ensemble: int = Field(1, ge=1, le=20)
    """Models of the study's best so many parameters, their predictions averaged."""
    seed: int = 0
    """Of the initial weights, dropout, augmentation and the order of rows."""
    timeout_minutes: float = Field(60, gt=0)
    """The job is ended after this long."""
    stall_minutes: float = Field(10, gt=0)
    """A job in which a rank makes no step for this long is ended; the message names the rank."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.batch_size % self.ranks:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of ranks {self.ranks}")
        return self

    @model_validator(mode="after")
    def _smoothed(self) -> Self:
        if self.label_smoothing and self.loss in ("mse", "mae", "huber"):
            raise ValueError(f"label_smoothing goes with cross_entropy and focal, not with {self.loss}")
        return self

    @model_validator(mode="after")
    def _local(self) -> Self:
        if self.sync_every > 1 and self.accumulate > 1:
            raise ValueError("sync_every and accumulate are two ways to step less often: give one of them")
        if self.sync_every > 1 and self.compress:
            raise ValueError("sync_every sends weights, and compress is for gradients: give one of them")
        return self
