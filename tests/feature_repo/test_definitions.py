"""What Feast is told about a project follows from its spec."""

import pytest
from feast.types import Array, Float32, String

from feature_repo.definitions import define
from tasks.core.config import load_project, project_names
from tasks.core.spec import Project


@pytest.fixture(params=project_names())
def shipped(request: pytest.FixtureRequest) -> Project:
    """Every project that ships."""
    return load_project(request.param)


def test_each_extractor_is_a_vector_of_the_view(shipped: Project) -> None:
    definitions = define(shipped, "features/*.parquet")
    kinds = [feature.kind for feature in shipped.features]
    assert definitions.references() == [f"{shipped.name}:{kind}" for kind in kinds]
    assert {field.name: field.dtype for field in definitions.view.features} == dict.fromkeys(kinds, Array(Float32))
    assert [(column.name, column.dtype) for column in definitions.view.entity_columns] == [("entity", String)]


def test_the_source_tells_when_values_were_true_and_when_known(shipped: Project) -> None:
    source = define(shipped, "features/*.parquet").source
    assert source.path == "features/*.parquet"
    assert (source.timestamp_field, source.created_timestamp_column) == ("event_time", "known_at")


def test_only_the_source_hangs_on_where_the_data_lies(shipped: Project) -> None:
    here, there = define(shipped, "here/*.parquet"), define(shipped, "there/*.parquet")
    assert here.entity == there.entity and here.references() == there.references()
    assert here.view.schema == there.view.schema and here.source != there.source
