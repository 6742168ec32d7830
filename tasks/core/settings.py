"""Where this installation keeps things and which ports it uses: environment variables with the prefix ``UPDRAFT_``.

Settings say *where* and *how much*; they never change what a stage computes, so no cache key depends on them. The same
code runs on a laptop and on a cluster with other settings.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.core.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: ``projects/``, ``dags/`` and ``plugins/`` stand beside ``tasks/``."""


class Settings(BaseSettings):
    """The settings of one process, read once. Paths come back absolute."""

    model_config = SettingsConfigDict(env_prefix="UPDRAFT_", frozen=True)

    home: Path = Field(Path(".updraft"), description="Folder of everything the platform writes on this machine.")
    store: str = Field("", description="Folder of the artifacts, or s3://bucket/prefix. Default: HOME/store.")
    s3_endpoint_url: str = Field(
        "", description="S3 other than Amazon's, http://host:port. Credentials: boto3's chain."
    )
    database_url: SecretStr = Field(SecretStr(""), description="The registry. Default: SQLite under HOME.")
    study_database_url: SecretStr = Field(
        SecretStr(""),
        description="The studies, postgresql://... Default: the registry's PostgreSQL, or SQLite in HOME.",
    )
    airflow_database_url: SecretStr = Field(
        SecretStr(""), description="Airflow's own database, postgresql://... Default: SQLite under HOME."
    )
    online_store: SecretStr = Field(
        SecretStr(""), description="Feast's online store, redis://... or postgresql://... Default: SQLite under HOME."
    )
    s3_connection: str = Field("", description="Airflow Connection with the credentials of tasks for s3://.")
    projects: Path = Field(ROOT / "projects", description="Folder of the project specs, one YAML each.")
    airflow_port: int = Field(8080, description="Airflow's UI and API.", ge=1, le=65535)
    serving_port: int = Field(3000, description="The prediction endpoint.", ge=1, le=65535)
    serving_workers: int = Field(
        2, description="Processes of the endpoint; one that dies is replaced while the others answer.", ge=1
    )
    serving_memory_mib: int = Field(
        0, description="MiB for the models of all its processes; the least recently used go. 0: no limit.", ge=0
    )
    api_keys: Literal["auto", "open", "required"] = Field(
        "auto", description="Who may ask the endpoint. auto: keys once one was made, or where others can reach it."
    )
    api_key: SecretStr = Field(SecretStr(""), description="The key that updraft's own commands send to the endpoint.")
    request_log_mib: int = Field(1024, description="MiB that the request logs may take; the oldest go first.", ge=1)
    host: str = Field("127.0.0.1", description="The address that the UI and the endpoint listen on.")
    hosts: str = Field(
        "", description="Hosts of training and their slots, gpu1:4,gpu2:4; each runs `updraft agent`. Empty: this one."
    )
    agent_port: int = Field(7070, description="Where `updraft agent` listens on each of the hosts.", ge=1, le=65535)
    agent_key: SecretStr = Field(SecretStr(""), description="The secret that agents and their callers share.")
    interface: str = Field(
        "", description="Network interface of the ranks' traffic on this host, eth0. Empty: the one to the other hosts."
    )
    notify: SecretStr = Field(
        SecretStr(""),
        description="Whom to tell of refusals, promotions and approvals to give: Apprise addresses, commas between.",
    )
    warm: bool = Field(True, description="Import the heavy libraries once in the executor, for every task to inherit.")
    beam_runner: Literal["FnApiRunner", "DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner"] = Field(
        "FnApiRunner",
        description="What fits the transform graph: in the process, or a cluster that sees the same paths.",
    )
    beam_options: str = Field(
        "", description="Options of that runner, as on its command line: --flink_master=host:port."
    )

    @field_validator("home", "projects")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: str) -> str:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        for part in parts:
            if not re.fullmatch(r"[\w.-]+:[1-9]\d*", part):
                raise ValueError(f"{part!r} is not a host and its slots, as in gpu1:4")
        if len({part.partition(":")[0] for part in parts}) < len(parts):
            raise ValueError("a host stands there twice")
        return ",".join(parts)

    @property
    def slots(self) -> dict[str, int]:
        """How many ranks each of ``hosts`` takes, in their order."""
        pairs = (part.split(":") for part in self.hosts.split(",") if part)
        return {host: int(slots) for host, slots in pairs}

    @property
    def memory_per_worker(self) -> float | None:
        """MiB that the models in one of the endpoint's processes may take; None: no limit."""
        return self.serving_memory_mib / self.serving_workers or None

    @property
    def store_uri(self) -> str:
        """The artifact store's address."""
        return self.store or str(self.home / "store")

    @property
    def registry_url(self) -> str:
        """The registry's SQLAlchemy address, password included: never log it."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.home / 'registry.db'}"


@lru_cache
def settings() -> Settings:
    """This process's settings (``settings.cache_clear()`` reads the environment again).

    Raises:
        BadInput: a variable has a value that cannot be used.
    """
    try:
        return Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        faults = [f"UPDRAFT_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()]
        raise BadInput("; ".join(faults) + ".", "Change or unset the environment variable.") from None
