"""Feast's objects of diabetes, for Feast's own tools; made by `updraft init`, they follow the spec."""

from feature_repo.definitions import define
from feature_repo.names import offline_folder
from tasks.core.config import load_project
from tasks.core.settings import settings

spec = load_project("diabetes")
definitions = define(spec, f"{settings().store_uri}/{offline_folder(spec)}/date=*.parquet")
entity, source, service = definitions.entity, definitions.source, definitions.service
features, inputs = definitions.views
