"""The Feast declarations of a project, generated from its spec: names, types and where the columns come from.

Nothing runs here. The stages `materialize` (offline to online store) and `dataset` (point-in-time join) use the same
declarations over different sources, so training and look-up read the same features by construction.
"""

from dataclasses import dataclass

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.feast_object import FeastObject
from feast.types import Array, Float32, String

from tasks.core.spec import Project

ENTITY = "entity"
"""The join key: the column that names the labelled thing."""

EVENT_TIME = "event_time"
"""When the thing was so: the join takes the newest value that is not later than the label."""

KNOWN_AT = "known_at"
"""When the platform knew it: of two values for one event time, the one known later stands."""


@dataclass(frozen=True)
class Definitions:
    """What Feast is told about one project."""

    entity: Entity
    source: FileSource
    view: FeatureView
    service: FeatureService

    def objects(self) -> list[FeastObject]:
        """All of them, as `FeatureStore.apply` takes them."""
        return [self.entity, self.source, self.view, self.service]

    def references(self) -> list[str]:
        """The features as ``view:feature``, in the spec's order."""
        return [f"{self.view.name}:{field.name}" for field in self.view.features]


def define(spec: Project, source_path: str) -> Definitions:
    """The declarations of ``spec`` over the Parquet files at ``source_path``.

    Args:
        source_path: a Parquet file, or a pattern of several, with the columns `ENTITY`, `EVENT_TIME`, `KNOWN_AT` and
            one list of float32 per extractor, named by its kind.
    """
    entity = Entity(name=ENTITY, join_keys=[ENTITY], value_type=ValueType.STRING, description=spec.description)
    source = FileSource(
        name=f"{spec.name}_features",
        path=source_path,
        file_format=ParquetFormat(),
        timestamp_field=EVENT_TIME,
        created_timestamp_column=KNOWN_AT,
    )
    view = FeatureView(
        name=spec.name,
        entities=[entity],
        schema=[
            Field(name=ENTITY, dtype=String),
            *(Field(name=feature.kind, dtype=Array(Float32)) for feature in spec.features),
        ],
        source=source,
        online=True,
        owner=spec.owner,
    )
    service = FeatureService(name=f"{spec.name}_features", features=[view], owner=spec.owner)
    return Definitions(entity, source, view, service)
