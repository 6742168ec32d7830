"""The spec's sections about data: where it comes from, what is clean, how it is kept, split and sampled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.settings import settings
from tasks.core.spec.base import Section, Share

RESERVED = frozenset(
    {
        *("row_id", "entity", "event_time", "known_time", "label", "digest", "defect", "detail", "uri"),
        *("image", "image_hash", "bytes", "width", "height", "mode", "format"),
    }
)
"""Columns that ingestion makes itself."""


class Column(Section):
    """A column of a table that features are made from."""

    name: str = Field(min_length=1)
    """As the source's header spells it."""
    type: Literal["number", "category", "text", "time", "boolean"]
    """What its values are; one that is something else is quarantined as ``wrong_type``."""
    nullable: bool = False
    """Whether a row without a value is clean."""

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value in RESERVED:
            raise ValueError(f"{value!r} is a name that Updraft uses itself; rename the column in the source")
        return value


class Source(Section):
    """Where labelled data comes from."""

    uri: str
    """A folder, or ``s3://bucket/prefix``; a relative one stands under UPDRAFT_HOME."""
    format: Literal["images", "image_folders", "table"] = "images"
    """``images``: files beside a labels file; ``image_folders``: a sub-folder per class; ``table``: rows of CSV, JSON
    lines or Parquet files, texts included."""
    partitions: Literal["folders", "event_time", "single"] = "folders"
    """``folders``: one per ``date=YYYY-MM-DD/``; ``event_time``: a row belongs to the day of its event; ``single``: all
    is one partition, of the date ``start``."""
    labels: str = "labels.csv"
    """``images``: the labels file of a partition (.csv, .jsonl or .parquet)."""
    files: str = "*"
    """``table``: pattern of the names of a partition's files (.csv, .jsonl or .parquet)."""
    entity: str | None = "id"
    """The column that names the labelled thing; null: the digest of the row (of an image in a folder: its path)."""
    image: str = "image"
    """``images``: the column with the image's path, relative to the partition."""
    label: str = "label"
    """The column with the label."""
    event_time: str | None = "event_time"
    """The column with the time of the event (ISO 8601; UTC if it names no zone); null: the partition's midnight."""
    known_time: str | None = None
    """The column with the time at which the row became known; null: as soon as it happened. No label of an earlier
    time is joined with it."""
    columns: tuple[Column, ...] = ()
    """``table``: what features may be made from. Others are archived and not used."""
    sample: str | None = None
    """Name of a data set that ships with Updraft and is landed at ``uri`` when nothing is there."""

    @property
    def has_images(self) -> bool:
        """Whether a row is an image."""
        return self.format != "table"

    @property
    def remote(self) -> bool:
        """Whether the source is not on this machine."""
        return "://" in self.uri

    @property
    def location(self) -> str:
        """The source's address, absolute."""
        return self.uri if self.remote else str(settings().home / Path(self.uri).expanduser())

    @property
    def folder(self) -> Path:
        """The source's folder on this machine, absolute."""
        return Path(self.location)

    @model_validator(mode="after")
    def _columns_belong_to_tables(self) -> Self:
        names = [column.name for column in self.columns]
        if self.has_images and names:
            raise ValueError(f"columns are for format table, this is {self.format}")
        if len(set(names)) != len(names):
            raise ValueError("columns: a name stands twice")
        if self.partitions == "event_time" and self.format == "image_folders":
            raise ValueError("image folders hold no event times: partitions are folders or single")
        if self.partitions == "event_time" and self.event_time is None:
            raise ValueError("partitions by event_time need the column event_time")
        return self


class Image(Section):
    """The tensor that images become, the same in training and serving."""

    height: int = Field(gt=0, le=4096)
    """Pixels."""
    width: int = Field(gt=0, le=4096)
    """Pixels."""
    channels: Literal[1, 3] = 1
    """1: luminance; 3: RGB."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels


class Expectation(Section):
    """One rule of the project's suite, ``projects/<name>.expectations.json``, in Great Expectations' own terms."""

    type: str = Field(pattern=r"^expect_[a-z0-9_]+$")
    """``expect_column_values_to_be_between``, ..."""
    kwargs: Mapping[str, Any] = {}
    """Its arguments: ``column``, ``min_value``, ..."""
    meta: Mapping[str, Any] = {}
    """``reason``: the code that its rows are counted by."""


class Validation(Section):
    """What a clean row is, and how many bad ones a partition may hold."""

    tolerated: Share = 0.05
    """Share of a partition's rows that may be quarantined; past it the partition fails."""
    near_duplicate_bits: int | None = Field(None, ge=0, le=8)
    """Images whose 64-bit perceptual hashes differ in at most so many bits are near-duplicates; null: not sought."""
    late_days: int = Field(0, ge=0)
    """How many days before its partition a row's event may lie."""
    added_columns: Literal["warn", "quarantine"] = "warn"
    """What a column that the spec does not know does to a partition; a removed or retyped one always quarantines."""
    expectations: tuple[Expectation, ...] = ()
    """Read from ``projects/<name>.expectations.json``, beside the rules that always hold; not written in the YAML."""


class Online(Section):
    """The online store's values, as they are looked up."""

    ttl_hours: float | None = Field(None, gt=0)
    """A value older than this has expired; null: none does."""
    expired: Literal["reject", "default", "flag"] = "reject"
    """What a look-up does with an expired value: fail, answer as if there were none, or answer and say so."""


class Sampling(Section):
    """What is done about few or skewed rows; the training split only."""

    balance: Literal["none", "class_weights", "oversample", "undersample", "smote"] = "none"
    """Weights in the loss, or rows drawn again, left out, or made up between neighbours (Chawla et al., 2002)."""
    neighbours: int = Field(5, ge=1)
    """Of SMOTE."""
    adaptive: bool = False
    """Draw rows that are predicted badly more often, after the first epoch."""


class Split(Section):
    """How entities are shared out; an entity stays where its digest puts it, whatever else arrives."""

    train: Share = 0.7
    """Fits the transform and the model."""
    validation: Share = 0.1
    """Judges trials and stops training."""
    test: Share = 0.2
    """Seen by evaluation alone."""
    seed: int = 0
    """Another seed, another split."""
    by: Literal["entity", "time"] = "entity"
    """``entity``: by digest; ``time``: the oldest events train, the newest test."""
    folds: int = Field(1, ge=1, le=20)
    """Above 1, each row outside the test split also belongs to one of so many folds, for cross-validation."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, not {self.train + self.validation + self.test:g}")
        if min(self.train, self.validation, self.test) <= 0:
            raise ValueError("train, validation and test must each be above 0")
        return self
