"""The Feast declarations of a project, generated from its spec: names, types and where the columns come from.

Nothing runs here. The stages `materialize` (offline to online store) and `dataset` (point-in-time join) use the same
declarations over different sources, so training and look-up read the same features by construction.
"""

from dataclasses import dataclass

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.feast_object import FeastObject
from feast.types import Array, FeastType, Float32, Int64, String

from feature_repo.names import CREATED_AT, ENTITY, EVENT_TIME, KNOWN_AT, inputs_name, view_name
from tasks.core.spec import Categorical, Crossed, Feature, Project, TextTerms


@dataclass(frozen=True)
class Definitions:
    """What Feast is told about one project.

    Attributes:
        features: the view of the feature groups, also online.
        inputs: the view of what they were computed from (an image's archived bytes, a table's row), offline only.
        service: the features, under a name that stays when the spec changes.
    """

    entity: Entity
    source: FileSource
    features: FeatureView
    inputs: FeatureView
    service: FeatureService

    @property
    def views(self) -> tuple[FeatureView, FeatureView]:
        """Both views."""
        return self.features, self.inputs

    def objects(self) -> list[FeastObject]:
        """All of them, as `FeatureStore.apply` takes them."""
        return [self.entity, self.source, *self.views, self.service]

    def references(self) -> list[str]:
        """Every feature of every view as ``view:feature``, in the spec's order."""
        return [f"{view.name}:{field.name}" for view in self.views for field in view.features]


def define(spec: Project, source_path: str) -> Definitions:
    """The declarations of ``spec`` over the Parquet files at ``source_path``.

    Args:
        source_path: a Parquet file, or a pattern of several, with the columns `ENTITY`, `EVENT_TIME`, `KNOWN_AT`,
            `CREATED_AT`, the row's inputs, and one list per feature group.
    """
    entity = Entity(name=ENTITY, join_keys=[ENTITY], value_type=ValueType.STRING, description=spec.description)
    source = FileSource(
        name=f"{spec.name}_features",
        path=source_path,
        file_format=ParquetFormat(),
        timestamp_field=EVENT_TIME,
        created_timestamp_column=CREATED_AT,
        # Feast has no word for it; our offline store reads it here.
        tags={KNOWN_AT: KNOWN_AT},
    )

    def view(name: str, fields: dict[str, FeastType], online: bool) -> FeatureView:
        schema = [Field(name=field, dtype=dtype) for field, dtype in {ENTITY: String, **fields}.items()]
        return FeatureView(name=name, entities=[entity], schema=schema, source=source, online=online, owner=spec.owner)

    features = view(view_name(spec), {feature.group: _dtype(feature) for feature in spec.features}, online=True)
    inputs = view(inputs_name(spec), _inputs(spec), online=False)
    service = FeatureService(name=f"{spec.name}_features", features=[features], owner=spec.owner)
    return Definitions(entity, source, features, inputs, service)


def _dtype(feature: Feature) -> FeastType:
    return Array(String if isinstance(feature, Categorical | Crossed | TextTerms) else Float32)


def _inputs(spec: Project) -> dict[str, FeastType]:
    if spec.source.has_images:
        return {"uri": String, "digest": String, "image_hash": Int64}
    return {"uri": String, "digest": String, "row": String}
