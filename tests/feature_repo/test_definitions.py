"""What Feast is told about a project follows from its spec."""

import pytest
from feast.types import Array, Float32, Int64, String

from feature_repo.definitions import define
from feature_repo.names import inputs_name, offline_folder, version, view_name
from tasks.core.config import load_project, project_names, replace
from tasks.core.spec import Project

TEXT = {"categorical", "crossed", "text"}


@pytest.fixture(params=project_names())
def shipped(request: pytest.FixtureRequest) -> Project:
    """Every project that ships."""
    return load_project(request.param)


def test_each_group_is_a_vector_of_the_view(shipped: Project) -> None:
    definitions = define(shipped, "features/*.parquet")
    groups = {f.group: Array(String if f.kind in TEXT else Float32) for f in shipped.features}
    assert {field.name: field.dtype for field in definitions.features.features} == groups
    assert definitions.references()[: len(groups)] == [f"{view_name(shipped)}:{group}" for group in groups]
    assert [(column.name, column.dtype) for column in definitions.features.entity_columns] == [("entity", String)]
    assert definitions.features.online and not definitions.inputs.online


def test_what_features_are_made_from_is_a_view_of_its_own(shipped: Project) -> None:
    fields = {field.name: field.dtype for field in define(shipped, "features/*.parquet").inputs.features}
    own = {"image_hash": Int64} if shipped.source.has_images else {"row": String}
    assert fields == {"uri": String, "digest": String, **own}


def test_the_source_tells_when_values_were_true_and_when_known(shipped: Project) -> None:
    source = define(shipped, "features/*.parquet").source
    assert source.path == "features/*.parquet" and source.tags == {"known_at": "known_at"}
    assert (source.timestamp_field, source.created_timestamp_column) == ("event_time", "created_at")


def test_only_the_source_hangs_on_where_the_data_lies(shipped: Project) -> None:
    here, there = define(shipped, "here/*.parquet"), define(shipped, "there/*.parquet")
    assert here.entity == there.entity and here.references() == there.references()
    assert here.features.schema == there.features.schema and here.source != there.source


def test_other_features_have_other_names_under_one_service(shipped: Project) -> None:
    fewer = replace(shipped, {"features": [{"kind": "image_stats"}]}) if shipped.image else None
    if fewer is None or fewer.features == shipped.features:
        pytest.skip("it has no other features to try")
    assert {version(shipped), view_name(shipped), inputs_name(shipped), offline_folder(shipped)}.isdisjoint(
        {version(fewer), view_name(fewer), inputs_name(fewer), offline_folder(fewer)}
    )
    assert define(shipped, "-").service.name == define(fewer, "-").service.name == f"{shipped.name}_features"
    assert version(replace(shipped, {"training.epochs": 77})) == version(shipped)


def test_the_longest_name_is_a_table_of_postgresql(shipped: Project) -> None:
    assert len(f"{'x' * 40}_{view_name(shipped)}_ek") <= 63
