"""The spec's sections about the running model: endpoint, watch and schedules."""

from pydantic import Field

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
