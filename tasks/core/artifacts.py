"""What a stage leaves behind: files, and one JSON manifest that names them, published together.

The manifest is all that travels between stages (Airflow passes its path): the data stays in the store.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST = "manifest.json"


def digest_bytes(data: bytes) -> str:
    """SHA-256, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Output(BaseModel):
    """One published file."""

    model_config = ConfigDict(frozen=True)

    digest: str
    bytes: int


class Rows(BaseModel):
    """The row balance of a stage: ``in`` = ``published`` + ``quarantined``, always."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    received: int = Field(0, alias="in")
    published: int = 0
    quarantined: int = 0


class Manifest(BaseModel):
    """The record of one stage's artifact.

    ``key`` is what the artifact was made *from* (code, spec section, inputs); ``digest`` is what it *is*, and what the
    keys of later stages are made from. ``cache`` and ``because`` tell how this very call came by it.
    """

    model_config = ConfigDict(frozen=True)

    project: str
    stage: str
    partition: str | None
    key: str
    digest: str
    cache: Literal["HIT", "MISS"] = "MISS"
    because: str = ""
    inputs: Mapping[str, tuple[str, ...]] = {}
    outputs: Mapping[str, Output] = {}
    rows: Rows = Rows()
    reasons: Mapping[str, int] = {}
    metrics: Mapping[str, Any] = {}
    seconds: float = 0.0
    code_version: str = ""
    parts: Mapping[str, Any] = {}
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def folder(self) -> str:
        """The artifact's folder, relative to the store."""
        return f"{self.project}/{self.stage}/{self.key}"

    @property
    def path(self) -> str:
        """The manifest's own path, relative to the store: how stages and Airflow tasks refer to it."""
        return f"{self.folder}/{MANIFEST}"

    def to_json(self) -> str:
        """The manifest as it is published and as ``--json`` prints it."""
        return self.model_dump_json(by_alias=True, indent=2)

    def line(self) -> str:
        """One line for logs: what ran, HIT or MISS, and why."""
        name = f"{self.stage} {self.partition}" if self.partition else self.stage
        return f"{name}: {self.cache} {self.key[:12]} in {self.seconds:.2f} s ({self.because})"


def describe_files(folder: Path) -> dict[str, Output]:
    """Digest and size of every file under ``folder``, by relative path, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(folder).as_posix(): Output(digest=digest_file(path), bytes=path.stat().st_size)
        for path in files
    }
