"""The spec's sections about the running model: endpoint, watch and schedules."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tasks.core.spec.base import Section, Share


class Serving(Section):
    """The project's endpoint."""

    top_k: int = Field(3, ge=1)
    """Labels listed with their probabilities."""
    max_body_kib: int = Field(4096, ge=1)
    """Largest request body, KiB."""
    max_pixels: int = Field(16_000_000, ge=1)
    """Largest image accepted, in pixels."""
    timeout_seconds: float = Field(10.0, gt=0)
    """After which a request is answered with 503."""
    log_share: Share = 1.0
    """Share of the requests that the request log keeps."""
    log_days: int = Field(30, ge=1)
    """After which it drops them."""


class Deployment(Section):
    """How a version that passed its gates goes live."""

    approval: bool = False
    """Whether a person has to say yes first: in Airflow's UI, or with ``updraft run --approve``."""
    shadow_minutes: float = Field(0, ge=0)
    """How long the challenger is asked, too, while the champion answers; 0: not at all."""
    canary: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Shares of the requests that the challenger answers, a step each, growing: ``[0.05, 0.25]``. Empty: no steps."""
    step_minutes: float = Field(10, gt=0)
    """How long each step of the canary takes."""
    min_requests: int = Field(100, ge=1)
    """Requests to the challenger without which a step proves nothing: it is refused then."""
    max_error_rate: Share = 0.01
    """Share of the requests that the challenger may fail beyond the share that the champion fails."""
    max_latency_ratio: float = Field(1.5, gt=0)
    """The challenger's 95th percentile of the time to an answer over the champion's."""
    max_score_psi: float = Field(0.2, gt=0)
    """Population stability index between the champion's and the challenger's answers."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if any(later <= share for share, later in zip(self.canary, self.canary[1:], strict=False)):
            raise ValueError("canary: each share must be larger than the one before, as in [0.05, 0.25]")
        return self

    @property
    def minutes(self) -> float:
        """How long a version is tried before it is champion."""
        return self.shadow_minutes + self.step_minutes * len(self.canary)


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
